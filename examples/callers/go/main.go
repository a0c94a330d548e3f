// Command signin signs a person in at Vestibule with the standard library: signin URL [PROVIDER], with the ID token on standard
// input.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
)

const (
	attemptsMax    = 3
	waitMax        = 5 * time.Second
	timeout        = 10 * time.Second
	answerBytesMax = 1 << 20
)

// Request is the body of a sign-in.
type Request struct {
	IDToken  string `json:"id_token"`
	Provider string `json:"provider,omitempty"`
}

// Answer is what a sign-in came to: look at RequiresMFA and MustChangePassword before the tokens.
type Answer struct {
	AccessToken        string   `json:"access_token"`
	RefreshToken       string   `json:"refresh_token"`
	ExpiresIn          int      `json:"expires_in"`
	RequiresMFA        bool     `json:"requires_mfa"`
	ChallengeToken     string   `json:"challenge_token"`
	RequiredMFAMethods []string `json:"required_mfa_methods"`
	MFACheckReason     string   `json:"mfa_check_reason"`
	MustChangePassword bool     `json:"must_change_password"`
	User               struct {
		ID       string `json:"id"`
		Username string `json:"username"`
	} `json:"user"`
}

// Refused is an error of Vestibule: Code is stable, and RequestID finds the reason in its audit trail.
type Refused struct {
	Status    int    `json:"-"`
	Code      string `json:"code"`
	Detail    string `json:"detail"`
	RequestID string `json:"request_id"`
}

func (r *Refused) Error() string {
	return fmt.Sprintf("%s: %s (request %s)", r.Code, r.Detail, r.RequestID)
}

// SignIn tries again as long as an outage or a limit is said to be short. The headers of person say whom the request is for: rate
// limits and risk are judged by the person's address, not by this machine's.
func SignIn(ctx context.Context, url string, request Request, person http.Header) (*Answer, error) {
	body, err := json.Marshal(request)
	if err != nil {
		return nil, err
	}
	for attempt := 1; ; attempt++ {
		answer, wait, err := try(ctx, url, body, person)
		var refused *Refused
		if err == nil || !errors.As(err, &refused) {
			return answer, err
		}
		passes := refused.Status == http.StatusTooManyRequests || refused.Status == http.StatusServiceUnavailable
		if !passes || attempt == attemptsMax || wait > waitMax {
			return nil, refused
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func try(ctx context.Context, url string, body []byte, person http.Header) (*Answer, time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url+"/auth/id-token/signin", bytes.NewReader(body))
	if err != nil {
		return nil, 0, err
	}
	for name, values := range person {
		request.Header[name] = values
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, 0, err
	}
	defer response.Body.Close()
	decoder := json.NewDecoder(io.LimitReader(response.Body, answerBytesMax))
	if response.StatusCode != http.StatusOK {
		refused := &Refused{Code: "unknown", RequestID: "unknown"}
		// Something between here and Vestibule may have answered without JSON: then the code stays unknown.
		_ = decoder.Decode(refused)
		refused.Status = response.StatusCode
		return nil, retryAfter(response.Header), refused
	}
	answer := new(Answer)
	if err := decoder.Decode(answer); err != nil {
		return nil, 0, err
	}
	return answer, 0, nil
}

func retryAfter(header http.Header) time.Duration {
	seconds, err := strconv.ParseUint(header.Get("Retry-After"), 10, 31)
	if err != nil {
		seconds = 1
	}
	return time.Duration(seconds) * time.Second
}

func main() { os.Exit(run()) }

func run() int {
	if len(os.Args) != 2 && len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: signin URL [PROVIDER] <id-token")
		return 1
	}
	token, err := io.ReadAll(io.LimitReader(os.Stdin, answerBytesMax))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	request := Request{IDToken: strings.TrimSpace(string(token))}
	if len(os.Args) == 3 {
		request.Provider = os.Args[2]
	}
	person := http.Header{}
	for header, name := range map[string]string{"X-Forwarded-For": "USER_ADDRESS", "User-Agent": "USER_AGENT", "Accept-Language": "USER_LANGUAGE"} {
		if value := os.Getenv(name); value != "" {
			person.Set(header, value)
		}
	}
	answer, err := SignIn(context.Background(), os.Args[1], request, person)
	var refused *Refused
	switch {
	case errors.As(err, &refused):
		fmt.Fprintln(os.Stderr, refused)
		if refused.Status == http.StatusTooManyRequests || refused.Status >= 500 {
			return 2
		}
		return 1
	case err != nil:
		fmt.Fprintf(os.Stderr, "cannot reach %s: %v\n", os.Args[1], err)
		return 2
	case answer.RequiresMFA:
		fmt.Printf("a second factor is needed (%s): %s\n", strings.Join(answer.RequiredMFAMethods, ", "), answer.MFACheckReason)
		return 3
	case answer.MustChangePassword:
		fmt.Println("the password must be changed first")
		return 4
	}
	name := answer.User.Username
	if name == "" {
		name = answer.User.ID
	}
	fmt.Printf("signed in as %s, for %d s\n", name, answer.ExpiresIn)
	return 0
}
