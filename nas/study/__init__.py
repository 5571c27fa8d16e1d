"""One study: its specification (`spec`), opening it (`opening`), the search (`search`), and its files (`files`)."""
