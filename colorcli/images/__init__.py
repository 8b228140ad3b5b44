"""Photographs in and out: decoding, metadata, provenance and encoding."""
