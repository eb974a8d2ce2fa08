"""Who is who: Ed25519 identities, the roster, TLS certificates, signing."""
