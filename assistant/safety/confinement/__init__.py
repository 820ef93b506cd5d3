"""How commands are kept from everything but the repository: what each tier of the sandbox is made of."""
