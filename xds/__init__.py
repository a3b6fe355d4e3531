"""Discovery: the ADS server. A protocol core without I/O, the memo of derived resources, one file that touches grpc."""
