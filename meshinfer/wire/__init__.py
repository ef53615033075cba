"""Nouns to bytes and back: versions, size limits, signatures. Whatever the bytes, decoding raises only
`ProtocolError`."""
