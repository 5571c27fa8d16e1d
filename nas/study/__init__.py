"""One study: what it asks (`spec`), opening it (`opening`), searching (`search`), and its files (`files`)."""
