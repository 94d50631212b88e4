// Package config reads gateway.yaml into a Gateway and routes.yaml into a topology.Spec: strictly, with every error
// and where it stands. It is the only package that knows YAML, and it knows nothing that runs.
package config
