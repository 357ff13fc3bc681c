"""What editors ask of the language server: ``oomrules lsp``."""
