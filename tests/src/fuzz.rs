//! One function for each parser of outside bytes: it must not panic, and what it accepts must keep its promises.
//!
//! `cargo fuzz` drives them with coverage (tests/fuzz); the ordinary tests run a bounded number of mutated seeds through
//! each.

use std::net::{IpAddr, Ipv4Addr};

use http::HeaderMap;
use serde_json::{Value, json};
use vestibule_crds::algorithm::Algorithm;
use vestibule_crds::compile::{Inputs, compile};
use vestibule_crds::duration::Duration;
use vestibule_crds::expression::{Bindings, Expression, Scope};
use vestibule_crds::issuer::{HttpIssuers, Issuer};
use vestibule_crds::manifests::{self, ManifestFile};
use vestibule_crds::verification_key::KeySet;
use vestibule_dataplane::body::form::Form;
use vestibule_dataplane::client_address::client_address;
use vestibule_dataplane::http::host;
use vestibule_dataplane::oauth::assertion::Unverified;
use vestibule_dataplane::oauth::credentials::{Credentials, credentials};
use vestibule_dataplane::refresh_token::RefreshToken;
use vestibule_dataplane::server::first_line::{FirstLine, Protocol};
use vestibule_idtoken::strict_json;
use vestibule_idtoken::token::{TOKEN_BYTES_MAX, UnverifiedToken};

/// A parser under test.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    pub name: &'static str,
    /// Valid inputs to begin with.
    pub seeds: &'static [&'static str],
    /// Whether the parser accepts the input.
    pub run: fn(&[u8]) -> bool,
}

pub const TARGETS: &[Target] = &[
    Target {
        name: "token",
        seeds: &[
            // {"alg":"ES256","kid":"k","typ":"JWT"} . {"iss":"https://a.example","sub":"s","aud":["a"],"exp":2,"iat":1}
            "eyJhbGciOiJFUzI1NiIsImtpZCI6ImsiLCJ0eXAiOiJKV1QifQ.eyJpc3MiOiJodHRwczovL2EuZXhhbXBsZSIsInN1YiI6InMiLCJhdWQiOlsiYSJdLCJleHAiOjIsImlhdCI6MX0.AAAA",
        ],
        run: token,
    },
    Target {
        name: "strict_json",
        seeds: &[
            r#"{"a":[1,-2.5e3,true,null,"\u00e9\ud83d\ude00"],"b":{"a":{}}}"#,
            r#"{"id_token":"x","provider":"corp","nonce":"n"}"#,
        ],
        run: json,
    },
    Target {
        name: "jwks",
        seeds: &[
            r#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo","kid":"k","use":"sig","key_ops":["verify"]}]}"#,
            r#"{"keys":[{"kty":"EC","crv":"P-256","x":"04N0xi21hshyvBp7I167sbE_bXqyqkAPfefdklMO7wY","y":"UI8exy-C06a7DUnjIdENkxeFtHM4-l_41LqEw9nVgmw","alg":"ES256"},{"kty":"oct","k":"AA"}]}"#,
        ],
        run: jwks,
    },
    Target {
        name: "client_address",
        seeds: &[
            "192.0.2.1, 10.0.0.7",
            "for=\"[2001:db8::1]:47\";proto=https, for=10.1.1.1",
        ],
        run: address,
    },
    Target {
        name: "host",
        seeds: &[
            "1/\na.example",
            "1http://a.example/x\na.example:80",
            "2https://a.example/x",
        ],
        run: host,
    },
    Target {
        name: "first_line",
        seeds: &["\r\nGET / HTTP/1.1\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"],
        run: first_line,
    },
    Target {
        name: "refresh_token",
        seeds: &["vrt_AaIFDLqQnRvBctJUncmpImp1wKrQAaIFDLqQnRvBctJUncmpImp1wKrQAaIFDLqQ"],
        run: refresh_token,
    },
    Target {
        name: "client",
        seeds: &[
            "Basic Z2F0ZXdheTphJTJCYg==\ngrant_type=refresh_token&refresh_token=vrt_x&audience=a&audience=b",
            "\ngrant_type=x&client_assertion=eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJhIiwic3ViIjoiYSIsImF1ZCI6ImIiLCJleHAiOjEsImp0aSI6ImoifQ.AAAA&client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer",
        ],
        run: client,
    },
    Target {
        name: "manifests",
        seeds: &[
            "apiVersion: vestibule.dev/v1alpha1\nkind: SigninPolicy\nmetadata: {name: default}\nspec:\n  token: {issuer: 'https://a.example', audiences: [x]}\n  signing: {managed: {algorithm: ES256}}\n---\napiVersion: vestibule.dev/v1alpha1\nkind: OidcProvider\nmetadata: {name: corp}\nspec:\n  issuer: https://b.example\n  audiences: [web]\n  claims: {rules: [{expression: \"claims.a == 'b'\", message: no}]}\n",
            "{\"apiVersion\":\"v1\",\"kind\":\"Secret\",\"metadata\":{\"name\":\"s\"},\"stringData\":{\"a\":\"b\"}}",
        ],
        run: manifests,
    },
    Target {
        name: "expression",
        seeds: &[
            "claims.roles.exists(r, r.startsWith('a') && size(r) > 2) ? 'x' + claims.sub : claims['b'][0]",
            "has(claims.hd) && claims.hd in ['a', 'b'] || !(claims.n >= 1.5e3)",
        ],
        run: expression,
    },
    Target {
        name: "issuer_and_duration",
        seeds: &["https://login.example.com/tenant", "1h30m"],
        run: issuer_and_duration,
    },
];

/// Runs the target of this name.
pub fn run(name: &str, bytes: &[u8]) {
    let target = TARGETS.iter().find(|target| target.name == name);
    let _accepted = (target.expect("a target has this name").run)(bytes);
}

fn token(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return false;
    };
    let Ok(token) = UnverifiedToken::parse(text) else {
        return false;
    };
    assert!(text.len() <= TOKEN_BYTES_MAX);
    assert!(text.starts_with(token.jws.signing_input));
    assert!((1..=255).contains(&token.subject.chars().count()));
    assert!(token.expires_at >= 0 && token.issued_at >= 0);
    true
}

fn json(bytes: &[u8]) -> bool {
    let Ok(value) = strict_json::parse(bytes) else {
        return false;
    };
    let lenient: Value = serde_json::from_slice(bytes).expect("what is strict is JSON");
    assert_eq!(value, lenient);
    true
}

fn jwks(bytes: &[u8]) -> bool {
    let Ok(value) = serde_json::from_slice::<Value>(bytes) else {
        return false;
    };
    let Ok(keys) = KeySet::parse(&value, &Algorithm::ALL) else {
        return false;
    };
    let again = KeySet::parse(&keys.to_jwks(), &Algorithm::ALL).expect("our own set");
    assert_eq!(again.keys().len(), keys.keys().len());
    !keys.is_empty()
}

fn address(bytes: &[u8]) -> bool {
    let trusted = ["10.0.0.0/8".parse().expect("a network")];
    let proxy = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
    let stranger = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 9));
    let mut named = false;
    for name in ["x-forwarded-for", "forwarded"] {
        let mut headers = HeaderMap::new();
        for line in bytes.split(|byte| *byte == b'\n') {
            if let Ok(value) = http::HeaderValue::from_bytes(line) {
                headers.append(name, value);
            }
        }
        named |= client_address(proxy, &headers, &trusted) != proxy;
        assert_eq!(client_address(stranger, &headers, &trusted), stranger);
    }
    named
}

/// Whole and in pieces it is the same, and what is HTTP says so.
fn first_line(input: &[u8]) -> bool {
    let whole = FirstLine::default().read(input);
    let mut first = FirstLine::default();
    let mut pieces = input.chunks(3).map(|piece| first.read(piece));
    let in_pieces = pieces.find(|protocol| *protocol != Protocol::Unknown);
    assert_eq!(in_pieces.unwrap_or(Protocol::Unknown), whole);
    let is_http = whole == Protocol::Http;
    assert!(!is_http || input.windows(5).any(|name| name == b"HTTP/"));
    is_http
}

/// HTTP version, target and, a line each, Host headers. What is accepted names one host at most.
fn host(input: &[u8]) -> bool {
    let mut lines = input.split(|byte| *byte == b'\n');
    let Some((version, target)) = lines.next().and_then(<[u8]>::split_first) else {
        return false;
    };
    let version = match version {
        b'0' => http::Version::HTTP_10,
        b'2' => http::Version::HTTP_2,
        _ => http::Version::HTTP_11,
    };
    let mut request = http::Request::builder().version(version).uri(target);
    let mut hosts = 0;
    for line in lines {
        request = request.header("host", line);
        hosts += 1;
    }
    let Ok(request) = request.body(()) else {
        return false;
    };
    let (head, ()) = request.into_parts();
    let accepted = host::check(&head).is_ok();
    if accepted {
        assert!(hosts <= 1);
        let authority = head.uri.authority().map(|authority| authority.host());
        let named = head.headers.get("host").and_then(|host| host.to_str().ok());
        if let (Some(authority), Some(named)) = (authority, named) {
            let start = named.get(..authority.len()).unwrap_or_default();
            assert!(start.eq_ignore_ascii_case(authority), "{authority} {named}");
        }
        assert!(authority.is_some() || named.is_some() || version == http::Version::HTTP_10);
    }
    accepted
}

fn refresh_token(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return false;
    };
    let Some(token) = RefreshToken::parse(text) else {
        return false;
    };
    assert_eq!(token.expose(), text);
    true
}

/// A header `Authorization` in the first line, and a form.
fn client(bytes: &[u8]) -> bool {
    let end = bytes.iter().position(|byte| *byte == b'\n');
    let (header, form) = bytes.split_at(end.unwrap_or(0));
    let mut headers = HeaderMap::new();
    if let Ok(value) = http::HeaderValue::from_bytes(header)
        && !header.is_empty()
    {
        headers.insert(http::header::AUTHORIZATION, value);
    }
    let Ok(mut form) = Form::parse(form.strip_prefix(b"\n").unwrap_or(form)) else {
        return false;
    };
    match credentials(&headers, &mut form) {
        Ok(Some(Credentials::Token { token, .. })) => {
            let Ok(parsed) = Unverified::parse(&token.0) else {
                return false;
            };
            assert!(parsed.subject().len() <= TOKEN_BYTES_MAX);
            true
        }
        Ok(Some(Credentials::Secret { secrets, .. })) => {
            assert!((1..=2).contains(&secrets.len()));
            true
        }
        Ok(None) | Err(_) => false,
    }
}

fn manifests(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return false;
    };
    let file = ManifestFile {
        path: "fuzz.yaml".to_owned(),
        text: text.to_owned(),
    };
    let (objects, errors) = manifests::read(&[file]);
    let count = objects.objects.len();
    let compiled = compile(&Inputs {
        objects: objects.objects,
        secrets: objects.secrets,
        config_maps: objects.config_maps,
        ..Inputs::default()
    });
    assert_eq!(compiled.verdicts.len(), count);
    errors.is_empty()
        && compiled
            .verdicts
            .iter()
            .all(|verdict| !verdict.is_refused())
}

fn expression(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return false;
    };
    let Ok(expression) = Expression::parse(text, Scope::Claims) else {
        return false;
    };
    let claims = json!({"sub": "s", "hd": "a", "n": 7, "b": ["x", 1, null], "roles": ["abc", "b"], "a": {"b": 1.5}});
    expression.evaluate(&Bindings::claims(&claims)).is_ok()
}

fn issuer_and_duration(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return false;
    };
    let issuer = Issuer::parse(text, HttpIssuers::LoopbackAndCluster);
    if let Ok(issuer) = &issuer {
        assert_eq!(issuer.as_str(), text);
        assert!(!issuer.path().ends_with('/'));
    }
    let duration = text.parse::<Duration>();
    if let Ok(duration) = duration {
        assert_eq!(duration.to_string().parse(), Ok(duration));
    }
    issuer.is_ok() || duration.is_ok()
}
