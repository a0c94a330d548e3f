//go:build tools

// Package tools names the program of etcd that the tests build, so that go.mod and go.sum cover all that it needs.
package tools

import _ "go.etcd.io/etcd/server/v3"
