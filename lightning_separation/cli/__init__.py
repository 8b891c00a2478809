"""The command line: what saved runs show, as text, JSON, CSV or a page. Imports torch for Fisher's test only."""
