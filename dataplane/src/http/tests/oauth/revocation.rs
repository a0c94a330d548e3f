//! `POST /oauth2/revoke`.

use super::*;

#[tokio::test]
async fn a_token_of_either_kind_ends_its_session_and_an_unknown_one_is_no_error() {
    for token in ["access_token", "refresh_token"] {
        let service = with_gateway().await;
        let exchanged = service.exchange_by_gateway(&service.token(&claims())).await;
        for (shown, hint) in [
            ("x", ""),
            (exchanged.text(token), "something_else"),
            (exchanged.text(token), ""),
        ] {
            let parameters = with_parameters(&[("token", shown)], &[("token_type_hint", hint)]);
            let reply = service.gateway("/oauth2/revoke", &parameters).await;
            assert_eq!((reply.status, &reply.body), (200, &Value::Null));
        }
        let access = exchanged.text("access_token");
        let userinfo = service.get("/auth/userinfo", Some(access)).await;
        assert_eq!(userinfo.code(), "access_token_invalid");
        let refreshed = service
            .refresh_by_gateway(exchanged.text("refresh_token"))
            .await;
        assert_eq!(refreshed.error(), "invalid_grant");
    }
}

#[tokio::test]
async fn a_policy_without_clients_lets_whoever_has_a_token_end_its_session() {
    let service = Service::start().await;
    let signed_in = service.signin(&service.token(&claims())).await;
    let token = [("token", signed_in.text("refresh_token"))];
    let reply = service.oauth("/oauth2/revoke", None, &token).await;
    assert_eq!(reply.status, 200);
    let refreshed = service.refresh(signed_in.text("refresh_token")).await;
    assert_eq!(refreshed.code(), "refresh_token_invalid");
    let reply = service.oauth("/oauth2/revoke", None, &[]).await;
    assert_eq!(reply.refusal(), (400, "invalid_request", "invalid_request"));
}

#[tokio::test]
async fn a_session_is_ended_by_its_own_client_and_not_by_another() {
    let service = with_gateway().await;
    let exchanged = service.exchange_by_gateway(&service.token(&claims())).await;
    let token = [("token", exchanged.text("refresh_token"))];
    let other = basic("other", &SECRET.to_uppercase());
    let reply = service.oauth("/oauth2/revoke", Some(&other), &token).await;
    assert_eq!(
        reply.refusal(),
        (400, "unauthorized_client", "unauthorized_client")
    );
    let said = service.introspect(exchanged.text("refresh_token")).await;
    assert_eq!(said["active"], true);
    let reply = service.gateway("/oauth2/revoke", &token).await;
    assert_eq!(reply.status, 200);
    let said = service.introspect(exchanged.text("refresh_token")).await;
    assert_eq!(said["active"], false);
}
