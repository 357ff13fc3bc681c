"""The service: the half of oomrules that stays, keeps the list true and waits for no one."""
