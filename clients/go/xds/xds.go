// Package xds makes targets such as xds:///placet work, for which it is imported for its effect:
//
//	import _ "placet.dev/go/xds"
//
// It brings gRPC's xDS client into the program, some 10 MB of it, and is a package of its own for those who do
// without. The file that GRPC_XDS_BOOTSTRAP names says where the control plane is, and where this
// client: placet xds bootstrap writes one.
package xds

import _ "google.golang.org/grpc/xds" // for its effect: the resolver and the balancers
