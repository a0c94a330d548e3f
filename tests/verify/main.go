// Command verify verifies an access token from the published keys with golang-jwt, as a resource server in Go would.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/MicahParks/keyfunc/v3"
	"github.com/golang-jwt/jwt/v5"
)

const (
	fetchTimeMax  = 10 * time.Second
	tokenBytesMax = 64 * 1024
)

var algorithms = []string{"ES256", "ES384", "EdDSA", "RS256", "PS256"}

func main() {
	issuer := flag.String("issuer", "", "the exact issuer")
	audience := flag.String("audience", "", "the audience that the token must name")
	jwks := flag.String("jwks", "", "where the keys are published")
	tokenStdin := flag.Bool("token-stdin", false, "read the token from standard input")
	flag.Parse()
	if *issuer == "" || *audience == "" || *jwks == "" || !*tokenStdin {
		flag.Usage()
		os.Exit(2)
	}

	token, err := io.ReadAll(io.LimitReader(os.Stdin, tokenBytesMax))
	if err != nil {
		refuse(err)
	}
	claims, err := verify(strings.TrimSpace(string(token)), *issuer, *audience, *jwks)
	if err != nil {
		refuse(err)
	}
	if err := json.NewEncoder(os.Stdout).Encode(claims); err != nil {
		refuse(err)
	}
}

func verify(token, issuer, audience, jwks string) (jwt.MapClaims, error) {
	ctx, cancel := context.WithTimeout(context.Background(), fetchTimeMax)
	defer cancel()
	keys, err := keyfunc.NewDefaultCtx(ctx, []string{jwks})
	if err != nil {
		return nil, err
	}
	claims := jwt.MapClaims{}
	parsed, err := jwt.ParseWithClaims(token, claims, keys.Keyfunc,
		jwt.WithValidMethods(algorithms),
		jwt.WithIssuer(issuer),
		jwt.WithAudience(audience),
		jwt.WithExpirationRequired(),
		jwt.WithIssuedAt(),
	)
	if err != nil {
		return nil, err
	}
	// RFC 9068, section 4: without this an ID token would pass for an access token.
	typ, _ := parsed.Header["typ"].(string)
	if kind := strings.TrimPrefix(strings.ToLower(typ), "application/"); kind != "at+jwt" {
		return nil, errors.New("typ is not at+jwt")
	}
	for _, name := range []string{"iss", "sub", "aud", "exp", "iat", "jti"} {
		if _, present := claims[name]; !present {
			return nil, fmt.Errorf("claim %s is missing", name)
		}
	}
	return claims, nil
}

func refuse(err error) {
	fmt.Fprintf(os.Stderr, "refused: %s\n", strings.ReplaceAll(err.Error(), "\n", ": "))
	os.Exit(1)
}
