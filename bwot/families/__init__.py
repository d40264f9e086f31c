"""Families of drawn solids: what each is made of, and the parts and the chance that they are drawn with."""
