"""What is shipped beside the programs: the unit's exposure, CI examples, manual and completion agree with the programs."""
import os
import re
import shutil
import subprocess
import tempfile
import unittest

from harness import BINARIES, HERE

DEPLOY = os.path.join(HERE, "..", "..", "deploy")
EXPOSURE_MAX = {"rollbackd.service": 1.5, "rollbackd-actor.service": 2.5}  # systemd-analyze's scale: 0 is a closed box, 10 an open one.


def read(*path):
    with open(os.path.join(DEPLOY, *path), encoding="utf-8") as text:
        return text.read()


def program(name, *arguments, **more):
    return subprocess.run([os.path.join(BINARIES, name), *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=60, check=False, **more)


def output(name, *arguments):
    done = program(name, *arguments)
    if done.returncode != 0:
        raise AssertionError("%s %s: %s" % (name, " ".join(arguments), done.stderr))
    return done.stdout


class Unit(unittest.TestCase):
    @unittest.skipUnless(shutil.which("systemd-analyze"), "no systemd-analyze (Debian package systemd)")
    def test_the_units_are_exposed_no_more_than_promised(self):
        for name, most in EXPOSURE_MAX.items():
            unit = os.path.join(DEPLOY, "systemd", name)
            done = subprocess.run(["systemd-analyze", "security", "--offline=true", "--no-pager", unit], stdin=subprocess.DEVNULL,
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60, check=False)
            said = re.search(r"Overall exposure level for %s: ([0-9.]+)" % re.escape(name), done.stdout)
            self.assertTrue(said, done.stdout)
            print("exposure of %s %s" % (name, said.group(1)))
            self.assertLessEqual(float(said.group(1)), most, done.stdout)

    def test_the_daemon_has_no_rights_and_the_actor_no_network(self):
        daemon, actor = read("systemd", "rollbackd.service"), read("systemd", "rollbackd-actor.service")
        for line in ("User=rollbackd", "CapabilityBoundingSet=", "NoNewPrivileges=yes", "Requires=rollbackd-actor.socket"):
            self.assertIn("\n%s\n" % line, daemon)
        for line in ("PrivateNetwork=yes", "RestrictAddressFamilies=AF_UNIX", "IPAddressDeny=any", "KillMode=process",
                     "Environment=ROLLBACKD_KEEPERS=units"):
            self.assertIn("\n%s\n" % line, actor)
        self.assertNotIn("[Install]", actor)  # Its socket starts it.
        self.assertIn("\nListenSequentialPacket=/run/rollbackd/actor.sock\n", read("systemd", "rollbackd-actor.socket"))

    def test_a_restart_of_the_daemon_ends_nothing_else(self):
        unit = read("systemd", "rollbackd.service")
        for line in ("KillMode=process", "Type=notify", "Restart=on-failure", "ReadWritePaths=/var/lib/rollbackd"):
            self.assertIn("\n%s\n" % line, unit)
        self.assertRegex(unit, r"\nWatchdogSec=\d+")


def steps(document):
    """The shell scripts of a GitHub workflow or a GitLab file."""
    for job in document.get("jobs", {}).values():
        for step in job["steps"]:
            yield step.get("run", "")
    for job in document.values():
        for script in job.get("script", []) if isinstance(job, dict) else []:
            yield script


class Examples(unittest.TestCase):
    """What is shipped for other people's pipelines is read, and its scripts run against a rollbackctl that notes what it is told."""

    files = ("github-rollback.yml", "github-deploy.yml", "gitlab-ci.yml")

    def setUp(self):
        try:
            import yaml  # pylint: disable=import-outside-toplevel
        except ImportError:
            self.skipTest("no Python yaml (Debian package python3-yaml)")
        self.documents = {name: yaml.safe_load(read("ci", name)) for name in self.files}
        self.directory = tempfile.mkdtemp(prefix="rollbackd-ci-")
        self.addCleanup(shutil.rmtree, self.directory)
        with open(os.path.join(self.directory, "rollbackctl"), "w", encoding="utf-8") as out:
            out.write('#!/bin/bash\nprintf "%s\\0" "$@" >> "$NOTED"\nprintf "\\n" >> "$NOTED"\n'
                      'case " $* " in *" explain "*) exit 0 ;; esac\nexit "$ENDS_WITH"\n')
            os.fchmod(out.fileno(), 0o755)

    def run_script(self, script, ends_with=0, **environment):
        """(exit code, what it printed, argument lists of every call of rollbackctl)"""
        noted = os.path.join(self.directory, "noted")
        whole = dict({"PATH": self.directory + ":" + os.environ["PATH"], "NOTED": noted, "ENDS_WITH": str(ends_with),
                      "TMPDIR": self.directory, "ROLLBACKD_TOKEN": "secret",
                      "GITHUB_ACTOR": "eve", "GITHUB_SERVER_URL": "https://ci", "GITHUB_REPOSITORY": "o/r",
                      "GITHUB_RUN_ID": "7", "CI_JOB_URL": "https://ci/7", "GITLAB_USER_LOGIN": "eve", "ENVIRONMENT": "prod",
                      "ROLLBACK_ENVIRONMENT": "prod", "SERVICE": "shop", "TARGET": "", "RELEASE": "", "EMERGENCY": "false", "REASON": "r"},
                     **environment)
        # As the runners do: GitHub's bash with -e, GitLab's with -eo pipefail.
        done = subprocess.run(["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script], stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60, check=False, env=whole,
                              cwd=self.directory)
        with open(noted, encoding="utf-8") as lines:
            calls = [line.split("\0")[:-1] for line in lines.read().split("\n") if line]
        os.remove(noted)
        return done.returncode, done.stdout, calls

    def scripts(self, word):
        return [(name, script) for name, document in self.documents.items() for script in steps(document)
                if re.search(r"rollbackctl \S+ %s " % word, script)]

    def test_no_input_is_pasted_into_a_script(self):
        for name, document in self.documents.items():
            for script in steps(document):
                self.assertNotIn("${{", script, name)

    def test_the_inputs_of_a_manual_rollback_are_all_there(self):
        # YAML 1.1 reads the key "on" as true.
        inputs = self.documents["github-rollback.yml"][True]["workflow_dispatch"]["inputs"]
        self.assertEqual(set(inputs), {"environment", "service", "target", "emergency", "reason"})
        self.assertTrue(inputs["reason"]["required"])

    def test_what_people_type_arrives_as_it_is_and_runs_nothing(self):
        nasty = "$(touch pwned) `touch pwned`; touch pwned \" ' --force"
        self.assertEqual(len(self.scripts("rollback")), 2)
        for name, script in self.scripts("rollback"):
            code, _, calls = self.run_script(script, SERVICE=nasty, TARGET=nasty, RELEASE=nasty, REASON=nasty, EMERGENCY="true")
            self.assertEqual(code, 0, name)
            self.assertEqual(len(calls), 1, name)
            self.assertEqual(calls[0][-2:], ["--", nasty], name)
            self.assertIn("--to=" + nasty, calls[0], name)
            self.assertIn("--emergency", calls[0], name)
            self.assertTrue(any(a.startswith("--reason=" + nasty + " (eve") for a in calls[0]), (name, calls))
            self.assertNotIn("--force", calls[0], name)
            self.assertEqual(sorted(os.listdir(self.directory)), ["rollbackctl"], name)

    def test_the_exit_code_tells_the_pipeline(self):
        for name, script in self.scripts("deploy"):
            for ends_with in (0, 1, 3, 50, 51, 52):
                code, said, calls = self.run_script(script, ends_with=ends_with, RELEASE="v2")
                self.assertEqual(code, ends_with, name)
                self.assertEqual(calls[0][-3:], ["--", "shop", "v2"], name)
                self.assertEqual([c[0] for c in calls[1:]], ["explain"] if ends_with in (50, 51) else [], name)
                self.assertTrue(said.strip(), name)
        for name, script in self.scripts("rollback"):
            for ends_with, expected in ((0, 0), (2, 2), (41, 41), (46, 0)):
                self.assertEqual(self.run_script(script, ends_with=ends_with)[0], expected, name)

    def test_the_programs_take_the_options_that_are_used(self):
        for word in ("rollback", "deploy"):
            known = output("rollbackctl", word, "--help") + output("rollbackctl", "--help")
            for name, script in self.scripts(word):
                command = re.search(r"rollbackctl (.*?)(?:\|\||\n\s*code)", script.replace("\\\n", " "), re.S).group(1)
                for option in re.findall(r"--[a-z][a-z-]*", command):
                    self.assertIn(option, known, name)


class Manual(unittest.TestCase):
    def test_rollbackctls_page_has_every_command_of_its_help(self):
        commands = re.findall(r"^  ([a-z][a-z-]*) ", output("rollbackctl", "--help").split("Subcommands:")[1], re.M)
        listed = re.findall(r"^\.It Ic (\S+)", output("rollbackctl", "--generate", "commands"), re.M)
        self.assertGreater(len(commands), 10)
        self.assertEqual(set(commands), set(listed))
        self.assertIn("@GENERATED@", read("man", "rollbackctl.1.in"))

    def test_rollbackds_page_has_every_option_of_its_help(self):
        page = read("man", "rollbackd.8")
        for arguments in (["--help"], ["rollback", "--help"]):
            for option in re.findall(r"--([a-z][a-z-]+)", output("rollbackd", *arguments)):
                if option != "help":
                    self.assertIn(".It Fl \\-" + option, page)

    @unittest.skipUnless(shutil.which("man"), "no man")
    def test_the_pages_are_well_formed(self):
        with tempfile.TemporaryDirectory() as directory:
            for name, kind in (("rollbackctl.1", "commands"), ("rollbackd.json.5", "settings"), ("rollbackd.8", None)):
                text = read("man", name + (".in" if kind else ""))
                if kind:
                    text = text.replace("@GENERATED@", output("rollbackctl", "--generate", kind).rstrip("\n"))
                with open(os.path.join(directory, name), "w", encoding="utf-8") as out:
                    out.write(text)
                done = subprocess.run(["man", "--warnings", "-E", "UTF-8", "-l", "-Tutf8", os.path.join(directory, name)],
                                      stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False,
                                      env=dict(os.environ, LC_ALL="C.UTF-8"))
                self.assertEqual((done.returncode, done.stderr), (0, ""), name)
                self.assertIn("SEE ALSO", re.sub(".\b", "", done.stdout))  # Bold is a letter struck twice.


class Completion(unittest.TestCase):
    """The generated bash completion, asked as bash asks it, with a rollbackctl that knows two services."""

    def setUp(self):
        self.directory = tempfile.mkdtemp(prefix="rollbackd-completion-")
        self.addCleanup(shutil.rmtree, self.directory)
        with open(os.path.join(self.directory, "completion"), "w", encoding="utf-8") as out:
            out.write(output("rollbackctl", "--generate", "bash"))
        with open(os.path.join(self.directory, "rollbackctl"), "w", encoding="utf-8") as out:
            out.write('#!/bin/sh\ncase "$*" in "words services") echo shop-api; echo other ;;\n'
                      '"words releases shop-api") echo v1; echo v2 ;; esac\n')
            os.fchmod(out.fileno(), 0o755)

    def complete(self, line):
        words = line.split(" ")
        script = ('. "$0"; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _rollbackctl; printf "%s\\n" "${COMPREPLY[@]}"')
        done = subprocess.run(["bash", "--noprofile", "--norc", "-c", script, os.path.join(self.directory, "completion"), *words],
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30, check=False,
                              env=dict(os.environ, PATH=self.directory + ":" + os.environ["PATH"]))
        self.assertEqual(done.stderr, "", line)
        return done.stdout.split()

    def test_offers_what_fits_the_place(self):
        for line, expected in (("rollbackctl expl", {"explain"}),
                               ("rollbackctl check ", {"config", "rules"}),
                               ("rollbackctl rollback ", {"shop-api", "other"}),
                               ("rollbackctl --format json explain sh", {"shop-api"}),
                               ("rollbackctl deploy shop-api ", {"v1", "v2"}),
                               ("rollbackctl deploy --reason x shop-api v", {"v1", "v2"}),
                               ("rollbackctl mark b", {"bad"}),
                               ("rollbackctl mark bad shop-api ", {"v1", "v2"}),
                               ("rollbackctl deploy other ", set()),
                               ("rollbackctl --format ", {"table", "json"}),
                               ("rollbackctl rollback shop-api --em", {"--emergency"})):
            offered = set(self.complete(line))
            self.assertTrue(expected <= offered and (expected or not offered), "%r: %r" % (line, offered))
            if len(expected) > 0 and not line.endswith(" "):
                self.assertEqual(offered, expected, line)

    @unittest.skipUnless(shutil.which("zsh"), "no zsh")
    def test_zsh_reads_its_own(self):
        path = os.path.join(self.directory, "_rollbackctl")
        with open(path, "w", encoding="utf-8") as out:
            out.write(output("rollbackctl", "--generate", "zsh"))
        done = subprocess.run(["zsh", "-f", "-n", path], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30, check=False)
        self.assertEqual((done.returncode, done.stderr), (0, ""))


if __name__ == "__main__":
    unittest.main()
