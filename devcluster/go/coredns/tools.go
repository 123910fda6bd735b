//go:build tools

// Package tools pins what devcluster builds from github.com/coredns/coredns.
package tools

import (
	_ "github.com/coredns/coredns"
)
