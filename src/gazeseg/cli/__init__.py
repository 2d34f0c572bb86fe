"""The command line: one file a verb. These modules are light; what is heavy is imported inside the verbs.

Exit status: 0 done; 2 the input or the call has to change (one line says how); 1 a fault of ours, with its traceback;
130 interrupted; 141 the reader of the output left before its end.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence

from cyclopts import App, CycloptsError, Parameter
from cyclopts.exceptions import UnknownCommandError

from gazeseg import __version__
from gazeseg.cli import (
    ablate,
    calibrate,
    check,
    compare,
    demo,
    describe,
    encode,
    evaluate,
    explain,
    export,
    gaze,
    import_,
    inspect_,
    ledger,
    masks,
    methods,
    predict,
    record,
    report,
    reproduce,
    review,
    status,
    train,
)
from gazeseg.errors import GazeSegError, suggest

VERBS: dict[str, App | Callable[..., None]] = {
    "demo": demo.demo,
    "import": import_.app,
    "gaze": gaze.app,
    "record": record.record,
    "check": check.check,
    "inspect": inspect_.inspect,
    "masks": masks.masks,
    "describe": describe.describe,
    "encode": encode.encode,
    "train": train.train,
    "status": status.status,
    "predict": predict.predict,
    "evaluate": evaluate.evaluate,
    "calibrate": calibrate.calibrate,
    "explain": explain.explain,
    "compare": compare.compare,
    "ablate": ablate.ablate,
    "reproduce": reproduce.reproduce,
    "ledger": ledger.ledger,
    "report": report.report,
    "export": export.export,
    "review": review.review,
    "methods": methods.methods,
}

HELP = """Turn where an expert looks into a segmentation model.

First steps: `gazeseg demo` shows the whole way on generated images. With your own:

1. `gazeseg import folder --images DIR --gaze CSV --out DS`
2. `gazeseg check DS` and `gazeseg masks DS`
3. `gazeseg train --method gazemedseg --data DS --out RUN`
4. `gazeseg predict RUN IMAGES --out DIR`
"""


def make_app() -> App:
    """Return the application with its verbs in the order in which they are used."""
    app = App(
        name="gazeseg",
        help=HELP,
        help_format="markdown",
        version=f"gazeseg {__version__}",
        default_parameter=Parameter(negative=()),  # --copy, but no --no-copy
    )
    for order, (name, verb) in enumerate(VERBS.items()):
        if isinstance(verb, App):
            verb.sort_key = order
            app.command(verb, name=name)
        else:
            app.command(verb, name=name, sort_key=order)
    return app


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit status."""
    tokens = list(sys.argv[1:] if arguments is None else arguments)
    try:
        make_app()(tokens, exit_on_error=False, print_error=False, result_action="return_value")
        sys.stdout.flush()  # while an error can still be caught
    except UnknownCommandError:
        if tokens[0] == "import":
            data_sets = [name for name in import_.app if not name.startswith("-")]
            return _fail(f"unknown data set '{tokens[1]}'{suggest(tokens[1], data_sets)}")
        return _fail(f"unknown verb '{tokens[0]}'{suggest(tokens[0], VERBS)}")
    except CycloptsError as error:
        verb = " ".join(error.command_chain or ())
        return _fail(f"{' '.join(str(error).split())} (gazeseg {verb} --help shows an example)")
    except GazeSegError as error:
        return _fail(str(error))
    except BrokenPipeError:  # `gazeseg compare .. | head`: the reader has what it wanted
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what Python still flushes at its end
        return 141
    except OSError as error:
        if error.filename is None and error.errno is None:
            raise  # not about a file of the user's
        return _fail(f"{error.filename or 'a file'}: {error.strerror}; check the path, its permissions and free space")
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    return 0


def _fail(message: str) -> int:
    print(f"gazeseg: {message}", file=sys.stderr)
    return 2
