# shellcheck shell=bash disable=SC2034 # Read by the scripts that source this.
# The addresses inside the cluster's own network namespace, where they meet nobody else's.
node_name=node1
node_address=10.245.0.1
pod_range=10.244.0.0/24
pod_gateway=10.244.0.1
service_range=10.96.0.0/16
api_service_address=10.96.0.1
dns_service_address=10.96.0.10
