from awsrn_fast.ablate.command import main
from awsrn_fast.cli import run

if __name__ == "__main__":
    run(main)
