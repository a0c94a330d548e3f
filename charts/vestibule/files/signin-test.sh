# shellcheck shell=sh
# What `helm test` runs: a real sign-in, through DNS, Service and TLS. The provider is the cluster itself, whose service account tokens are
# ID tokens, and the person is the service account of this pod. Wants sh, sed and curl.
#
# URL: the data plane. NAME: of what is made here. NAMESPACE: a watched one. SUBJECT: the service account. The CA of URL, if it has one of
# its own, is /tls/ca.crt; /token/token is the ID token.
account=/var/run/secrets/kubernetes.io/serviceaccount
seconds_max=90

main() {
  trap clean_up EXIT
  issuer="$(api /.well-known/openid-configuration | sed -n 's/.*"issuer":"\([^"]*\)".*/\1/p')"
  jwks="$(api /openid/v1/jwks)"
  apply signinpolicies "{\"apiVersion\":\"vestibule.dev/v1alpha1\",\"kind\":\"SigninPolicy\",\"metadata\":{\"name\":\"$NAME\"},\"spec\":{
    \"token\":{\"issuer\":\"https://$NAME.$NAMESPACE.svc\",\"audiences\":[\"$NAME\"],\"refreshTtl\":\"10m\",\"sessionMaxTtl\":\"10m\"},
    \"signing\":{\"managed\":{\"algorithm\":\"ES256\"}}}}"
  # The keys as they are now: nothing has to be fetched, and nobody has to be allowed to.
  apply oidcproviders "{\"apiVersion\":\"vestibule.dev/v1alpha1\",\"kind\":\"OidcProvider\",\"metadata\":{\"name\":\"$NAME\"},\"spec\":{
    \"issuer\":\"$issuer\",\"audiences\":[\"$NAME\"],\"policyRef\":{\"name\":\"$NAME\"},\"keys\":{\"jwks\":$jwks},\"algorithms\":[\"RS256\",\"ES256\"],
    \"claims\":{\"rules\":[{\"expression\":\"claims.sub == '$SUBJECT'\",\"message\":\"only the test signs in here\"}],
    \"mapping\":{\"username\":\"claims.sub\"}}}}"
  echo "applied OidcProvider and SigninPolicy $NAME in $NAMESPACE, for $issuer"
  sign_in
  call --header "Authorization: Bearer $access_token" "$URL/auth/userinfo" | grep -q "\"$SUBJECT\""
  echo "signed in at $URL as $SUBJECT"
  call --request POST --header "Authorization: Bearer $access_token" "$URL/auth/signout"
}

# Until what was just applied is served.
sign_in() {
  deadline=$(($(date +%s) + seconds_max))
  while :; do
    answer="$(printf '{"provider":"%s","id_token":"%s"}' "$NAME" "$(cat /token/token)" |
      call --header 'Content-Type: application/json' --data-binary @- "$URL/auth/id-token/signin" 2>&1)" || true
    access_token="$(printf '%s' "$answer" | sed -n 's/.*"access_token":"\([^"]*\)".*/\1/p')"
    [ -z "$access_token" ] || return 0
    if [ "$(date +%s)" -ge "$deadline" ]; then
      echo "no sign-in within $seconds_max s; the last answer was: $answer" >&2
      api "/apis/vestibule.dev/v1alpha1/namespaces/$NAMESPACE/oidcproviders/$NAME" >&2 || true
      exit 1
    fi
    sleep 1
  done
}

call() {
  if [ -e /tls/ca.crt ]; then
    curl --silent --show-error --max-time 10 --cacert /tls/ca.crt "$@"
  else
    curl --silent --show-error --max-time 10 "$@"
  fi
}

api() {
  path="$1"
  shift
  curl --silent --show-error --fail-with-body --max-time 10 --cacert "$account/ca.crt" \
    --header "Authorization: Bearer $(cat "$account/token")" "$@" "https://kubernetes.default.svc$path"
}

# apply PLURAL OBJECT
apply() {
  api "/apis/vestibule.dev/v1alpha1/namespaces/$NAMESPACE/$1/$NAME?fieldManager=helm-test&force=true" --output /dev/null \
    --request PATCH --header 'Content-Type: application/apply-patch+yaml' --data-binary "$2"
}

clean_up() {
  for plural in oidcproviders signinpolicies; do
    api "/apis/vestibule.dev/v1alpha1/namespaces/$NAMESPACE/$plural/$NAME" --request DELETE --output /dev/null || true
  done
}

main
