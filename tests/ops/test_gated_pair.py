from suite import OpSuite


class TestGatedPair(OpSuite):
    op = "gated_pair"
