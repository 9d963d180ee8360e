from suite import OpSuite


class TestNonLocal(OpSuite):
    op = "non_local"
