//! From `helm install` to `helm uninstall`, in a namespace that lets only restricted pods in, with TLS.

use std::fs;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use serde_json::{Value, json};
use vestibule_tests::cluster::caller::CallerPod;
use vestibule_tests::cluster::kubectl::{kubectl, kubectl_with};
use vestibule_tests::cluster::{Namespace, Release, node};
use vestibule_tests::e2e::manifests::{policy, provider, with};
use vestibule_tests::e2e::{IdProvider, LocalIssuer, eventually, is};

const SERVICE: &str = "vestibule.e2e-install.svc";

/// A certificate of the Service's name and its authority, as Secret `vestibule-tls` and ConfigMap `ca`. Returns the CA.
fn give_certificate(namespace: &Namespace) -> String {
    let mut authority = CertificateParams::new(Vec::new()).expect("no names");
    // Another name than the certificate's, which would pass for one that signed itself.
    authority
        .distinguished_name
        .push(DnType::CommonName, "vestibule-test-authority");
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority_key = KeyPair::generate().expect("a key can be made");
    let ca = authority.self_signed(&authority_key).expect("it signs");
    let issuer = Issuer::new(authority, authority_key);
    let key = KeyPair::generate().expect("a key can be made");
    let params = CertificateParams::new([SERVICE.to_owned()]).expect("a name");
    let certificate = params.signed_by(&key, &issuer).expect("it signs");
    namespace
        .apply(&[
            json!({
                "apiVersion": "v1",
                "kind": "Secret",
                "type": "kubernetes.io/tls",
                "metadata": {"name": "vestibule-tls"},
                "stringData": {"tls.crt": certificate.pem(), "tls.key": key.serialize_pem(), "ca.crt": ca.pem()},
            }),
            json!({
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {"name": "ca"},
                "data": {"ca.crt": ca.pem()},
            }),
        ])
        .ok();
    ca.pem()
}

#[tokio::test(flavor = "multi_thread")]
async fn installed_used_and_uninstalled_as_the_readme_says() {
    let namespace = Namespace::create("e2e-install");
    let ca = give_certificate(&namespace);
    let release = Release::install(
        namespace,
        &[
            "tls.existingSecret=vestibule-tls",
            "dataplane.allowHttpIssuers=true",
        ],
    );
    let namespace = &release.namespace;

    let issuer = LocalIssuer::new();
    let policy = with(policy(), "/spec/token/issuer", format!("https://{SERVICE}"));
    let policy = with(
        policy,
        "/spec/token/audiences",
        json!(["internal", "cluster"]),
    );
    namespace.apply(&[issuer.provider(), policy]).ok();
    namespace
        .kubectl("wait --for=condition=Programmed oidcp/corp sip/default --timeout=60s")
        .ok();

    let caller = CallerPod::start(namespace);
    let url = format!("https://{SERVICE}/auth/id-token/signin");
    let answer = caller.sign_in(&url, &issuer.id_token("alice"));
    assert_eq!(answer["user"]["username"], "alice", "{answer}");
    let access_token = answer["access_token"].as_str().expect("it has one");
    let refused = caller.sign_in(&url, &LocalIssuer::new().id_token("alice"));
    assert_eq!(refused["code"], "token_key_unknown", "{refused}");

    columns_tell_how_they_are(namespace);
    fields_are_explained();
    the_data_plane_may_read_its_snapshot_and_nothing_else(namespace);
    the_operator_may_do_nothing_elsewhere(namespace);
    if node::is_ours() {
        a_provider_of_the_cluster_signs_in(namespace, &caller, &url).await;
        the_api_server_takes_a_local_token(&ca, access_token).await;
    }
    let said = release.test();
    assert!(said.contains("signed in at"), "{said}");

    release.uninstall();
    assert_eq!(namespace.pods("dataplane"), Vec::<Value>::new());
    for left in [
        "oidcp/corp",
        "sip/default",
        "secret/vestibule-snapshot",
        "pvc/vestibule-dataplane",
    ] {
        namespace.get(left);
    }
    kubectl("get crd oidcproviders.vestibule.dev signinpolicies.vestibule.dev").ok();
}

fn columns_tell_how_they_are(namespace: &Namespace) {
    let table = |line: &str| {
        let text = namespace.kubectl(line).ok();
        let lines = text
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
        lines.collect::<Vec<String>>()
    };
    let lines = table("get oidcp,sip");
    let find = |lines: &[String], start: &str| -> String {
        let line = lines.iter().find(|line| line.starts_with(start));
        line.unwrap_or_else(|| panic!("{start} in {lines:?}"))
            .clone()
    };
    assert_eq!(
        find(&lines, "NAME ISSUER POLICY"),
        "NAME ISSUER POLICY ACCEPTED PROGRAMMED AGE"
    );
    let corp = find(&lines, "oidcprovider.vestibule.dev/corp");
    assert!(
        corp.contains(" https://login.corp.example default True True "),
        "{corp}"
    );
    assert_eq!(
        find(&lines, "NAME ISSUER MODE"),
        "NAME ISSUER MODE ACCEPTED PROGRAMMED AGE"
    );
    let default = find(&lines, "signinpolicy.vestibule.dev/default");
    assert!(
        default.contains(&format!(" https://{SERVICE} Off True True ")),
        "{default}"
    );

    let wide = table("get oidcp --output wide");
    assert_eq!(
        wide[0],
        "NAME ISSUER POLICY ACCEPTED PROGRAMMED AGE KEYS REASON"
    );
    assert!(
        wide[1].ends_with(" Serving") || wide[1].ends_with(" Accepted"),
        "{wide:?}"
    );
    // The category has both kinds.
    let all = namespace.kubectl("get vestibule --output name").ok();
    assert_eq!(all.lines().count(), 2, "{all}");
}

fn fields_are_explained() {
    let said = kubectl("explain oidcp.spec.token.replay").ok();
    assert!(
        said.contains("FIELD: replay") && said.contains("Reject"),
        "{said}"
    );
    let said = kubectl("explain sip.spec.signing.managed.prePublish").ok();
    assert!(said.contains("FIELD: prePublish"), "{said}");
    assert!(
        said.contains("DESCRIPTION:") && !said.contains("<empty>"),
        "{said}"
    );
}

/// `kubectl auth can-i`, as a service account of the namespace.
fn may(namespace: &Namespace, account: &str, question: &str) -> bool {
    let line = format!(
        "auth can-i {question} --as=system:serviceaccount:{}:{account}",
        namespace.name
    );
    // It exits with 1 on no.
    match kubectl(&line).result() {
        Ok(said) => said.trim() == "yes",
        Err(_) => false,
    }
}

fn the_data_plane_may_read_its_snapshot_and_nothing_else(namespace: &Namespace) {
    let may = |question: &str| may(namespace, "vestibule-dataplane", question);
    let own = format!("--namespace={}", namespace.name);
    let parts = (1..16).map(|part| format!("vestibule-snapshot-{part}"));
    for name in ["vestibule-snapshot".to_owned()].into_iter().chain(parts) {
        assert!(may(&format!("get secret/{name} {own}")), "{name}");
    }
    assert!(may(&format!("watch secret/vestibule-snapshot {own}")));
    for question in [
        "list secrets",
        "watch secrets",
        "get secret/vestibule-snapshot-16",
        "get secret/vestibule-tls",
        "update secret/vestibule-snapshot",
        "patch secret/vestibule-snapshot",
        "delete secret/vestibule-snapshot",
        "create secrets",
        "get configmaps",
        "get pods",
        "create pods --subresource=exec",
        "get oidcproviders.vestibule.dev",
        "patch oidcproviders.vestibule.dev --subresource=status",
        "get leases.coordination.k8s.io",
        "create events",
    ] {
        assert!(!may(&format!("{question} {own}")), "{question}");
    }
    for question in ["get secret/vestibule-snapshot", "list secrets"] {
        assert!(
            !may(&format!("{question} --namespace=kube-system")),
            "{question}"
        );
    }
    // The whole list is no longer than what everybody may, and those.
    let line = format!(
        "auth can-i --list {own} --as=system:serviceaccount:{}:vestibule-dataplane",
        namespace.name
    );
    let list = kubectl(&line).ok();
    let lines = list.lines().skip(1);
    // What begins with a space is about URLs.
    let (own, others): (Vec<&str>, Vec<&str>) = lines
        .filter(|line| !line.starts_with(' ') && !line.starts_with("selfsubject"))
        .partition(|line| {
            line.contains("[vestibule-snapshot") && line.ends_with("[get list watch]")
        });
    assert_eq!((own.len(), others), (16, vec![]), "{list}");
}

fn the_operator_may_do_nothing_elsewhere(namespace: &Namespace) {
    let may = |question: &str| may(namespace, "vestibule-operator", question);
    let own = format!("--namespace={}", namespace.name);
    for question in [
        "patch oidcproviders.vestibule.dev --subresource=status",
        "watch secrets",
        "list pods",
    ] {
        assert!(may(&format!("{question} {own}")), "{question}");
    }
    for question in [
        "create pods",
        "create pods --subresource=exec",
        "delete oidcproviders.vestibule.dev",
        "patch oidcproviders.vestibule.dev",
        "create deployments.apps",
        "create rolebindings.rbac.authorization.k8s.io",
    ] {
        assert!(!may(&format!("{question} {own}")), "{question}");
    }
    for question in [
        "list secrets",
        "list oidcproviders.vestibule.dev",
        "list pods",
    ] {
        assert!(
            !may(&format!("{question} --namespace=default")),
            "{question}"
        );
        assert!(!may(&format!("{question} --all-namespaces")), "{question}");
    }
}

async fn a_provider_of_the_cluster_signs_in(
    namespace: &Namespace,
    caller: &CallerPod<'_>,
    url: &str,
) {
    let issuer = format!("http://idp.{}.svc", namespace.name);
    let id_provider = IdProvider::start_with(&["--host", node::ADDRESS, "--issuer", &issuer]).await;
    node::expose(&namespace.name, "idp", id_provider.port().await);
    namespace.apply(&[provider("idp", &issuer)]).ok();
    namespace.programmed(&["oidcp/idp"]).await;
    namespace
        .condition("oidcp/idp", "Discovered", "True", "Discovered")
        .await;
    let answer = caller.sign_in(url, &id_provider.id_token("bob").await);
    assert!(answer["access_token"].is_string(), "{answer}");
    let keys = namespace.get("oidcp/idp")["status"]["keys"].clone();
    assert!(!keys.as_array().expect("a list").is_empty(), "{keys}");
}

/// kube-apiserver as a resource server: it reads our discovery document and keys, and says who the token is.
async fn the_api_server_takes_a_local_token(ca: &str, access_token: &str) {
    let file = node::authentication_file();
    let before = fs::read_to_string(&file).expect("it is there");
    let configuration = json!({
        "apiVersion": "apiserver.config.k8s.io/v1",
        "kind": "AuthenticationConfiguration",
        "jwt": [{
            "issuer": {"url": format!("https://{SERVICE}"), "audiences": ["cluster"], "certificateAuthority": ca},
            "claimMappings": {"username": {"claim": "email", "prefix": "vestibule:"}},
            "claimValidationRules": [{"expression": "claims.idp == 'corp'", "message": "only corp"}],
        }],
    });
    fs::write(&file, configuration.to_string()).expect("it can be written");
    // Without the certificate of the admin that the kubeconfig has.
    let ca_file = node::pki_file("ca.crt");
    let token = format!("--token={access_token}");
    let certificate = format!("--certificate-authority={}", ca_file.display());
    let server = format!("--server=https://{}:6443", node::ADDRESS);
    let ask = || {
        let arguments = [
            "--kubeconfig=/dev/null",
            &server,
            &certificate,
            &token,
            "auth",
            "whoami",
            "--output=jsonpath={.status.userInfo.username}",
        ];
        kubectl_with(arguments, "").result()
    };
    let said = eventually("the API server knows who the token is", || async {
        is(ask(), Ok("vestibule:alice@corp.example".to_owned()))
    })
    .await;
    assert!(said.is_ok());
    fs::write(&file, before).expect("it can be written");
}
