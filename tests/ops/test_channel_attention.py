from suite import OpSuite


class TestChannelAttention(OpSuite):
    op = "channel_attention"
