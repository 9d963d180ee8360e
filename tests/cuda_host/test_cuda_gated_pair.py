from suite import OpSuite


class TestGatedPairOnHost(OpSuite):
    op = "gated_pair"
