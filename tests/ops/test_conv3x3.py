from suite import OpSuite


class TestConv3x3(OpSuite):
    op = "conv3x3"
