from suite import OpSuite


class TestConv3x3OnHost(OpSuite):
    op = "conv3x3"
