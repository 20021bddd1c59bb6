"""Stubs generated from the protos beside them by `make proto`; never edited."""
