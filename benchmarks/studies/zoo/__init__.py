"""Networks that others trained and published inside packages, through every command; see ``__main__``."""
