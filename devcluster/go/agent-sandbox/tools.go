//go:build tools

// Package tools pins what devcluster builds from sigs.k8s.io/agent-sandbox, which bench/ measures against.
package tools

import (
	_ "sigs.k8s.io/agent-sandbox/cmd/agent-sandbox-controller"
)
