package semel

import _ "embed"

//go:embed service_config.json
var serviceConfig string

// ServiceConfig is the nearest that gRPC itself gets to how this library sends again, for who uses the generated stubs without
// it: grpc.WithDefaultServiceConfig(semel.ServiceConfig()).
func ServiceConfig() string { return serviceConfig }
