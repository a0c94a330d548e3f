// Command h2spec checks HTTP/2 at a listener with h2spec's cases, and ends with 1 when one fails.
package main

import (
	"flag"
	"fmt"
	"os"
	"time"

	"github.com/summerwind/h2spec"
	"github.com/summerwind/h2spec/config"
)

const (
	answerTimeMax  = 5 * time.Second
	headerBytesMax = 4000
)

func main() {
	port := flag.Int("port", 0, "port of the listener on 127.0.0.1")
	path := flag.String("path", "/", "a path that is answered with 200")
	tls := flag.Bool("tls", false, "speak TLS; the certificate is not verified")
	flag.Parse()
	passed, err := h2spec.Run(&config.Config{
		Host:         "127.0.0.1",
		Port:         *port,
		Path:         *path,
		Timeout:      answerTimeMax,
		MaxHeaderLen: headerBytesMax,
		TLS:          *tls,
		Insecure:     true,
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	if err != nil || !passed {
		os.Exit(1)
	}
}
