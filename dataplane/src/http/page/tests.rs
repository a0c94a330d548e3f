use std::collections::BTreeSet;

use http::header::ACCEPT_LANGUAGE;
use http_body_util::BodyExt as _;

use super::*;

fn headers(name: HeaderName, value: &str) -> HeaderMap {
    HeaderMap::from_iter([(name, value.parse().expect("a header"))])
}

async fn body(answer: Answer) -> String {
    let bytes = answer.into_body().collect().await.expect("a body");
    String::from_utf8(bytes.to_bytes().to_vec()).expect("a text")
}

fn names(texts: &HashMap<String, String>) -> BTreeSet<&str> {
    texts.keys().map(String::as_str).collect()
}

/// What stands in `text` between each `begin` and the next `end`.
fn between<'a>(text: &'a str, begin: &str, end: &str) -> BTreeSet<&'a str> {
    text.split(begin)
        .skip(1)
        .filter_map(|rest| rest.split_once(end))
        .map(|(name, _)| name)
        .collect()
}

#[test]
fn every_text_is_on_the_page_and_the_page_names_no_other() {
    let english = language::object(Language::English, "page");
    assert_eq!(between(HTML, "{{", "}}"), names(&english));
    for language in [Language::English, Language::Chinese] {
        let rendered = render(HTML, &language::object(language, "page"));
        assert!(!rendered.contains("{{"), "{language:?}");
    }
}

#[test]
fn the_script_says_only_what_is_on_the_page_and_all_of_it() {
    let on_page = between(HTML, "data-text=\"", "\"");
    let mut said = between(SCRIPT, "say('", "'");
    said.extend(between(SCRIPT, "text('", "'"));
    said.extend(between(SCRIPT, "complain('", "'"));
    let problems: Vec<String> = between(SCRIPT, "'problem_", "'")
        .into_iter()
        .map(|rest| format!("problem_{rest}"))
        .collect();
    said.extend(problems.iter().map(String::as_str));
    assert_eq!(said, on_page);
}

#[test]
fn the_script_asks_only_for_elements_that_there_are() {
    let ids = between(HTML, " id=\"", "\"");
    let mut asked = between(SCRIPT, "element('", "'");
    asked.extend(between(SCRIPT, " on('", "'"));
    assert!(asked.is_subset(&ids), "{:?}", &asked - &ids);
    let views = between(HTML, "data-view=\"", "\"");
    let shown = between(SCRIPT, "show('", "'");
    let ended = between(SCRIPT, "end('", "'");
    assert!(shown.is_subset(&views) && ended.is_subset(&views));
    assert_eq!(&(&views - &shown) - &ended, BTreeSet::new());
}

#[test]
fn nothing_stands_in_the_page_that_its_own_policy_forbids() {
    for forbidden in [
        "<style",
        "style=",
        "onclick=",
        "onload=",
        "javascript:",
        "://",
        "<form action",
    ] {
        assert!(!HTML.contains(forbidden), "{forbidden}");
    }
    assert_eq!(HTML.matches("<script").count(), 1);
    assert!(HTML.contains("<script type=\"module\" src=\"mfa/page.js\"></script>"));
}

#[test]
fn a_text_cannot_become_markup() {
    let texts = HashMap::from([
        ("a".to_owned(), "<b onclick=\"x\">'&amp;'</b>".to_owned()),
        ("c".to_owned(), "{{a}}".to_owned()),
    ]);
    assert_eq!(
        render("<p title=\"{{a}}\">{{c}}</p>", &texts),
        "<p title=\"&lt;b onclick=&quot;x&quot;&gt;&#39;&amp;amp;&#39;&lt;/b&gt;\">{{a}}</p>"
    );
}

#[tokio::test]
async fn the_query_decides_on_the_language_before_the_browser_does() {
    for (query, accepted, language) in [
        (None, "zh-CN", "zh"),
        (None, "fr", "en"),
        (Some("lang=en"), "zh-CN", "en"),
        (Some("lang=zh"), "en", "zh"),
        (Some("lang=zh&lang=en"), "en", "zh"),
        (Some("lang=%7a%68"), "en", "zh"),
        (Some("lang=fr"), "zh", "zh"),
        (Some("lang=<script>"), "en", "en"),
        (Some("language=zh"), "en", "en"),
    ] {
        let answer = answer(File::Page, &headers(ACCEPT_LANGUAGE, accepted), query);
        assert_eq!(answer.headers()[CONTENT_LANGUAGE], language, "{query:?}");
        assert_eq!(answer.headers()[VARY], "accept-language");
        let page = body(answer).await;
        assert!(page.contains(&format!("<html lang=\"{language}\">")));
        assert!(!page.contains("<script>"));
    }
}

#[tokio::test]
async fn each_file_comes_with_a_policy_that_lets_in_nothing_of_others() {
    for (file, media_type) in [
        (File::Page, "text/html; charset=utf-8"),
        (File::Script, "text/javascript; charset=utf-8"),
        (File::Style, "text/css; charset=utf-8"),
    ] {
        let answer = answer(file, &HeaderMap::new(), None);
        let known = answer.headers();
        assert_eq!(known[CONTENT_TYPE], media_type);
        assert_eq!(known[CONTENT_SECURITY_POLICY], POLICY);
        assert_eq!(known[REFERRER_POLICY], "no-referrer");
        assert_eq!(known[STRICT_TRANSPORT_SECURITY], "max-age=31536000");
        assert_eq!(known[CACHE_CONTROL], "no-cache");
        assert!(!body(answer).await.is_empty());
    }
    let policy = POLICY;
    let policy = policy.to_str().expect("text");
    for part in [
        "default-src 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "base-uri 'none'",
    ] {
        assert!(policy.contains(part), "{part}");
    }
    assert!(!policy.contains("unsafe") && !policy.contains("http"));
}

#[tokio::test]
async fn what_the_browser_has_is_not_sent_again() {
    for file in [File::Page, File::Script, File::Style] {
        let first = answer(file, &HeaderMap::new(), None);
        let tag = first.headers()[ETAG].to_str().expect("text").to_owned();
        for sent in [
            tag.clone(),
            format!("W/{tag}"),
            format!("\"x\", {tag}"),
            "*".to_owned(),
        ] {
            let again = answer(file, &headers(IF_NONE_MATCH, &sent), None);
            assert_eq!(again.status(), StatusCode::NOT_MODIFIED, "{sent}");
            assert_eq!(again.headers()[ETAG], *tag);
            assert_eq!(again.headers()[CONTENT_SECURITY_POLICY], POLICY);
            assert_eq!(body(again).await, "");
        }
        for sent in ["\"x\"", "", "W/", tag.trim_matches('"')] {
            let again = answer(file, &headers(IF_NONE_MATCH, sent), None);
            assert_eq!(again.status(), StatusCode::OK, "{sent}");
        }
    }
}

#[test]
fn two_languages_have_two_tags() {
    let tag = |query| answer(File::Page, &HeaderMap::new(), Some(query)).headers()[ETAG].clone();
    assert_ne!(tag("lang=en"), tag("lang=zh"));
}
