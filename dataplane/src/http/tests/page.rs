//! Where the page for a second factor stands.

use super::*;

#[tokio::test]
async fn the_page_and_its_files_are_there_for_a_browser() {
    let service = Service::start().await;
    for (path, media_type) in [
        ("/auth/mfa", "text/html; charset=utf-8"),
        ("/auth/mfa?lang=zh", "text/html; charset=utf-8"),
        ("/auth/mfa/page.js", "text/javascript; charset=utf-8"),
        ("/auth/mfa/page.css", "text/css; charset=utf-8"),
    ] {
        for method in [Method::GET, Method::HEAD] {
            let request = service.request(method, path).body(Full::default());
            let answer = service.client.request(request.expect("a request")).await;
            let answer = answer.expect("an answer");
            assert_eq!(answer.status(), 200, "{path}");
            assert_eq!(answer.headers()["content-type"], media_type);
            assert!(answer.headers().contains_key("content-security-policy"));
        }
    }
    let request = service
        .request(Method::GET, "/auth/mfa?lang=zh")
        .body(Full::default());
    let answer = service.client.request(request.expect("a request")).await;
    let headers = answer.expect("an answer").into_parts().0.headers;
    assert_eq!(headers["content-language"], "zh");
}

#[tokio::test]
async fn the_page_is_only_read_and_nothing_stands_beside_it() {
    let service = Service::start().await;
    let reply = service.post("/auth/mfa", &json!({})).await;
    assert_eq!((reply.status, reply.code()), (405, "method_not_allowed"));
    assert_eq!(reply.headers["allow"], "GET, HEAD");
    for path in [
        "/auth/mfa/",
        "/auth/mfa/page.html",
        "/auth/mfa/../mfa",
        "/auth/mfa/page.js/x",
    ] {
        assert_eq!(service.get(path, None).await.code(), "not_found", "{path}");
    }
}
