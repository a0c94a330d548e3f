// Command oauth uses Vestibule's OAuth endpoints with golang.org/x/oauth2, as a service in Go would. README.md says what it is told
// and what it tells.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"
)

const (
	exchange     = "urn:ietf:params:oauth:grant-type:token-exchange"
	idTokenType  = "urn:ietf:params:oauth:token-type:id_token"
	timeMax      = 20 * time.Second
	bodyBytesMax = 1 << 20
)

type task struct {
	Issuer       string `json:"issuer"`
	ClientID     string `json:"client_id"`
	ClientSecret string `json:"client_secret"`
	Method       string `json:"method"`
	IDToken      string `json:"id_token"`
}

type metadata struct {
	Issuer                string `json:"issuer"`
	TokenEndpoint         string `json:"token_endpoint"`
	IntrospectionEndpoint string `json:"introspection_endpoint"`
	RevocationEndpoint    string `json:"revocation_endpoint"`
}

type told struct {
	Exchanged      map[string]any `json:"exchanged"`
	Refreshed      map[string]any `json:"refreshed"`
	Revoked        map[string]any `json:"revoked"`
	RefreshRefused string         `json:"refresh_refused"`
}

func main() {
	told, err := run()
	if err != nil {
		fmt.Fprintln(os.Stderr, "failed:", err)
		os.Exit(1)
	}
	if err := json.NewEncoder(os.Stdout).Encode(told); err != nil {
		os.Exit(1)
	}
}

func run() (told, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeMax)
	defer cancel()
	var task task
	var told told
	if err := json.NewDecoder(os.Stdin).Decode(&task); err != nil {
		return told, err
	}
	at, err := discover(ctx, task.Issuer)
	if err != nil {
		return told, err
	}
	style, ok := map[string]oauth2.AuthStyle{
		"client_secret_basic": oauth2.AuthStyleInHeader,
		"client_secret_post":  oauth2.AuthStyleInParams,
	}[task.Method]
	if !ok {
		return told, fmt.Errorf("unknown method %q", task.Method)
	}

	// The library has no token exchange of its own, and lets a grant be named.
	exchanging := clientcredentials.Config{
		ClientID:     task.ClientID,
		ClientSecret: task.ClientSecret,
		TokenURL:     at.TokenEndpoint,
		AuthStyle:    style,
		EndpointParams: url.Values{
			"grant_type":         {exchange},
			"subject_token":      {task.IDToken},
			"subject_token_type": {idTokenType},
		},
	}
	token, err := exchanging.Token(ctx)
	if err != nil {
		return told, err
	}
	if !token.Valid() || token.Type() != "Bearer" {
		return told, errors.New("it is no valid Bearer token")
	}
	introspect := func(token string) (map[string]any, error) {
		return post(ctx, at.IntrospectionEndpoint, task, token)
	}
	if told.Exchanged, err = introspect(token.AccessToken); err != nil {
		return told, err
	}

	config := oauth2.Config{
		ClientID:     task.ClientID,
		ClientSecret: task.ClientSecret,
		Endpoint:     oauth2.Endpoint{TokenURL: at.TokenEndpoint, AuthStyle: style},
	}
	refreshed, err := config.TokenSource(ctx, &oauth2.Token{RefreshToken: token.RefreshToken}).Token()
	if err != nil {
		return told, err
	}
	if told.Refreshed, err = introspect(refreshed.AccessToken); err != nil {
		return told, err
	}

	if _, err := post(ctx, at.RevocationEndpoint, task, refreshed.RefreshToken); err != nil {
		return told, err
	}
	if told.Revoked, err = introspect(refreshed.AccessToken); err != nil {
		return told, err
	}
	_, err = config.TokenSource(ctx, &oauth2.Token{RefreshToken: refreshed.RefreshToken}).Token()
	var refused *oauth2.RetrieveError
	if !errors.As(err, &refused) {
		return told, fmt.Errorf("a revoked token was not refused: %v", err)
	}
	told.RefreshRefused = refused.ErrorCode
	return told, nil
}

func discover(ctx context.Context, issuer string) (metadata, error) {
	var at metadata
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, issuer+"/.well-known/oauth-authorization-server", nil)
	if err != nil {
		return at, err
	}
	if err := do(request, &at); err != nil {
		return at, err
	}
	if at.Issuer != issuer {
		return at, fmt.Errorf("the metadata is of %q", at.Issuer)
	}
	return at, nil
}

// post asks what the library has no call for: introspection and revocation.
func post(ctx context.Context, endpoint string, task task, token string) (map[string]any, error) {
	form := url.Values{"token": {token}}
	if task.Method == "client_secret_post" {
		form.Set("client_id", task.ClientID)
		form.Set("client_secret", task.ClientSecret)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, endpoint, strings.NewReader(form.Encode()))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if task.Method == "client_secret_basic" {
		request.SetBasicAuth(url.QueryEscape(task.ClientID), url.QueryEscape(task.ClientSecret))
	}
	answer := map[string]any{}
	return answer, do(request, &answer)
}

func do(request *http.Request, answer any) error {
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, bodyBytesMax))
	if err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s: %s", request.URL.Path, response.Status, body)
	}
	if len(body) == 0 {
		return nil
	}
	return json.Unmarshal(body, answer)
}
