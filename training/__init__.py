"""How the bundled encoder is made. Run ``python -m training`` from the project's root; see README.md."""
