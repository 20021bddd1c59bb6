"""The wire contract of Slacktide (`v1`) and the conventions around it (`wire`)."""
