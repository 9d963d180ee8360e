from suite import OpSuite


class TestNonLocalOnHost(OpSuite):
    op = "non_local"
