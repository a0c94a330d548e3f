//! What an author in a watched namespace may not do, and the installer may.

use super::*;
use crate::installer::Shares;
use crate::snapshot::Egress;

fn installer() -> Installer {
    Installer {
        own_namespace: Some("auth".to_owned()),
        ..Installer::default()
    }
}

fn in_namespace(mut body: Value, namespace: &str) -> Value {
    body["metadata"]["namespace"] = json!(namespace);
    if body["kind"] == "SigninPolicy" {
        body["spec"]["token"]["issuer"] = json!(format!("https://{namespace}.example.com"));
    }
    body
}

fn by(installer: Installer, bodies: impl IntoIterator<Item = Value>) -> Inputs {
    Inputs {
        installer,
        ..inputs(bodies)
    }
}

fn verdict<'c>(compiled: &'c Compiled, kind: Kind, namespace: &str) -> &'c Verdict {
    let mut verdicts = compiled.verdicts.iter();
    let found = verdicts.find(|verdict| verdict.kind == kind && verdict.namespace == namespace);
    found.expect("a verdict")
}

fn with_egress(mut provider: Value, egress: &str) -> Value {
    provider["spec"]["egress"] = json!(egress);
    provider
}

#[test]
fn reach_into_the_cluster_is_for_the_namespaces_that_the_installer_lists() {
    let bodies = |egress: Option<&'static str>| {
        ["auth", "shop"].into_iter().flat_map(move |namespace| {
            let provider = in_namespace(provider("corp"), namespace);
            let provider = match egress {
                Some(egress) => with_egress(provider, egress),
                None => provider,
            };
            [in_namespace(policy(), namespace), provider]
        })
    };
    let egress = |compiled: &Compiled, namespace: &str| {
        let provider = compiled
            .snapshot
            .providers
            .get(&format!("{namespace}/corp"));
        let policy = &compiled.snapshot.policies[&format!("{namespace}/default")];
        (provider.map(|provider| provider.egress), policy.egress)
    };
    let (cluster, public) = (Egress::Cluster, Egress::Public);

    let left_out = compile(&by(installer(), bodies(None)));
    assert_eq!(egress(&left_out, "auth"), (Some(cluster), cluster));
    assert_eq!(egress(&left_out, "shop"), (Some(public), public));

    let asked = compile(&by(installer(), bodies(Some("Cluster"))));
    assert_eq!(egress(&asked, "auth"), (Some(cluster), cluster));
    assert_eq!(egress(&asked, "shop"), (None, public));
    let refused = verdict(&asked, Kind::OidcProvider, "shop");
    assert_eq!(refused.accepted.reason, AcceptedReason::Invalid);
    assert!(
        refused
            .accepted
            .message
            .contains("ask the installer to list the namespace")
    );

    for listed in ["shop", "*"] {
        let listing = Installer {
            cluster_egress: Some([listed.to_owned()].into()),
            ..installer()
        };
        let listed = compile(&by(listing, bodies(Some("Cluster"))));
        assert_eq!(egress(&listed, "shop"), (Some(cluster), cluster));
    }
    let manifests = compile(&inputs(bodies(Some("Cluster"))));
    assert_eq!(egress(&manifests, "shop"), (Some(cluster), cluster));
}

#[test]
fn what_served_before_reaches_no_further_than_its_namespace_may_now() {
    let bodies = || {
        let provider = with_egress(in_namespace(provider("corp"), "shop"), "Cluster");
        [in_namespace(policy(), "shop"), provider]
    };
    let before = compile(&inputs(bodies()));
    assert_eq!(
        before.snapshot.providers["shop/corp"].egress,
        Egress::Cluster
    );
    let now = Inputs {
        installer: installer(),
        ..after(before, bodies())
    };
    let compiled = compile(&now);
    assert!(verdict(&compiled, Kind::OidcProvider, "shop").is_refused());
    assert_eq!(
        compiled.snapshot.providers["shop/corp"].egress,
        Egress::Public
    );
}

/// A policy with a mail server, a webhook and a key of its own, all of whose Secrets are there.
fn with_secrets(namespace: &str) -> (Value, Inputs) {
    let mut body = in_namespace(policy(), namespace);
    body["spec"]["signing"] = json!({"secretRefs": [{"name": "signing", "key": "tls.key"}]});
    body["spec"]["mfa"] = json!({
        "methods": ["email_otp", "sms_otp"],
        "email": {"host": "mail.example.com", "from": "a@example.com", "credentialsRef": {"name": "mail"}},
        "sms": {
            "url": "https://sms.example.com",
            "secretRef": {"name": "sms", "key": "key"},
        },
    });
    let mut inputs = by(installer(), [body.clone()]);
    let pem = SigningKey::generate(SigningAlgorithm::ES256).expect("a key");
    let text = |text: &str| Secret::new(text.to_owned());
    for (name, entries) in [
        ("signing", vec![("tls.key", pem)]),
        (
            "mail",
            vec![("username", text("u")), ("password", text("p"))],
        ),
        ("sms", vec![("key", text("0123456789abcdef0123"))]),
    ] {
        let entries = entries
            .into_iter()
            .map(|(key, text)| (key.to_owned(), text));
        let id = NamespacedName::new(namespace, name);
        inputs.secrets.insert(id, entries.collect());
    }
    (body, inputs)
}

#[test]
fn a_policy_sends_no_secret_to_a_server_of_its_author_without_the_label_of_its_use() {
    let (_, mut inputs) = with_secrets("shop");
    let compiled = compile(&inputs);
    let judged = &verdict(&compiled, Kind::SigninPolicy, "shop").resolved_refs;
    assert_eq!(judged.status, ConditionStatus::False);
    for label in ["mail", "sms", "signing"] {
        let wanted = format!(
            "Secret shop/{label} is not for this: set its label vestibule.dev/use: {label}"
        );
        assert!(judged.message.contains(&wanted), "{}", judged.message);
        let id = NamespacedName::new("shop", label);
        inputs.secret_uses.insert(id, label.to_owned());
    }
    let compiled = compile(&inputs);
    assert!(!verdict(&compiled, Kind::SigninPolicy, "shop").is_refused());

    let id = NamespacedName::new("shop", "mail");
    inputs.secret_uses.insert(id, "signing".to_owned());
    let compiled = compile(&inputs);
    assert!(
        verdict(&compiled, Kind::SigninPolicy, "shop").is_refused(),
        "a label of another use"
    );
}

#[test]
fn a_label_that_comes_or_goes_is_seen_by_who_compiles_again() {
    let (_, mut inputs) = with_secrets("shop");
    let mut compiler = Compiler::default();
    let refused = |compiled: Compiled| compiled.verdicts[0].is_refused();
    assert!(refused(compiler.compile(&inputs)));
    for label in ["mail", "sms", "signing"] {
        let id = NamespacedName::new("shop", label);
        inputs.secret_uses.insert(id, label.to_owned());
    }
    assert!(!refused(compiler.compile(&inputs)));
    inputs.secret_uses.clear();
    assert!(refused(compiler.compile(&inputs)));
}

#[test]
fn secrets_of_the_release_s_own_namespace_want_no_label() {
    let (_, inputs) = with_secrets("auth");
    assert!(!compile(&inputs).verdicts[0].is_refused());
}

#[test]
fn one_namespace_s_volume_takes_no_place_from_another() {
    let shares = Shares {
        object_bytes: 4096,
        namespace_bytes: 8192,
        namespace_objects: 100,
    };
    let installer = Installer {
        shares: Some(shares),
        ..installer()
    };
    let large = |number: usize| {
        let mut provider = in_namespace(provider(&format!("p{number}")), "flood");
        provider["metadata"]["creationTimestamp"] = json!(format!("2026-01-01T00:{number:02}:00Z"));
        // What does not compress.
        let noise = (0..40)
            .map(|line| format!("{:?}", Revision::of(format!("{number} {line}").as_bytes())));
        provider["spec"]["audiences"] = json!(noise.collect::<Vec<_>>());
        provider
    };
    let bodies = [
        policy(),
        provider("corp"),
        in_namespace(policy(), "flood"),
        in_namespace(policy(), "shop"),
    ];
    let all = bodies.into_iter().chain((0..20).map(large));
    let compiled = compile(&by(installer, all));
    let snapshot = &compiled.snapshot;
    assert_eq!(snapshot.policies.len(), 3, "everybody else is served");
    assert!(snapshot.providers.contains_key("auth/corp"));
    let flood = snapshot
        .providers
        .keys()
        .filter(|key| key.starts_with("flood/"))
        .count();
    assert!((1..20).contains(&flood), "{flood}");
    assert!(
        snapshot.providers.contains_key("flood/p0"),
        "the oldest is served"
    );
    let newest = compiled
        .verdicts
        .iter()
        .find(|verdict| verdict.name == "p19");
    let newest = newest.expect("a verdict");
    assert_eq!(newest.accepted.reason, AcceptedReason::QuotaExceeded);
    assert!(newest.accepted.message.contains("share of namespace flood"));
}

#[test]
fn wide_networks_of_proxies_are_warned_of() {
    for (network, is_wide) in [
        ("0.0.0.0/0", true),
        ("10.0.0.0/7", true),
        ("10.0.0.0/8", false),
        ("::/0", true),
        ("fd00::/15", true),
        ("fd00::/16", false),
    ] {
        let mut policy = policy();
        policy["spec"]["risk"] = json!({"trustedProxies": [network]});
        let compiled = compile(&inputs([policy]));
        let verdict = &compiled.verdicts[0];
        assert!(!verdict.is_refused(), "{network}");
        let paths = verdict.warnings.iter().map(|warning| warning.path.as_str());
        let warned = paths
            .filter(|path| *path == "spec.risk.trustedProxies")
            .count();
        assert_eq!(warned, usize::from(is_wide), "{network}");
    }
}

#[test]
fn an_object_that_cannot_be_read_has_a_verdict_and_harms_no_other() {
    let mut deep = json!(1);
    for _ in 0..80 {
        deep = json!([deep]);
    }
    let mut odd = provider("odd");
    odd["spec"]["examples"] =
        json!([{"name": "a", "claims": {"a": deep}, "expect": {"allowed": true}}]);
    let mut all = inputs([policy(), provider("corp"), odd, provider("cut")]);
    all.objects[3].unreadable = Some("it is nested too deeply to be read".to_owned());
    let compiled = compile(&all);
    assert_eq!(compiled.snapshot.providers.len(), 1);
    for verdict in &compiled.verdicts {
        assert_eq!(
            verdict.is_refused(),
            verdict.name == "odd" || verdict.name == "cut"
        );
        if verdict.is_refused() {
            assert_eq!(verdict.accepted.reason, AcceptedReason::Invalid);
            assert!(
                verdict.accepted.message.contains("nested"),
                "{}",
                verdict.accepted.message
            );
        }
    }
}
