from hypothesis import settings

# No time limit for an example: a busy machine is not a bug. The same examples every time.
settings.register_profile("limiar", deadline=None, derandomize=True)
settings.load_profile("limiar")
