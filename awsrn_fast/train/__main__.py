from awsrn_fast.cli import run
from awsrn_fast.train.command import main

if __name__ == "__main__":
    run(main)
