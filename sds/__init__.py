"""Identity: the certificate authority, what it signs, tokens of callers, and the secrets of SDS."""
