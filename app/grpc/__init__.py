"""What the proxy knows of gRPC: whose call it is, what a status says, and answers of our own."""
