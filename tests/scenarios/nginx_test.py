"""A real nginx whose configuration is the release: one that `nginx -t` refuses, and one that is valid and leads nowhere."""
import http.client
import http.server
import json
import os
import signal
import subprocess
import threading
import unittest
import urllib.error
import urllib.request

from harness import Scenario, free_port, impatient, rollback_of, standing, wait_for

NGINX = "/usr/sbin/nginx"
CONFIGURATION = """
user root;
worker_processes 1;
pid %(run)s/nginx.pid;
error_log %(run)s/error.log;
events { worker_connections 64; }
http {
  access_log off;
  client_body_temp_path %(run)s/body; proxy_temp_path %(run)s/proxy; fastcgi_temp_path %(run)s/fastcgi;
  uwsgi_temp_path %(run)s/uwsgi; scgi_temp_path %(run)s/scgi;
  server {
    listen 127.0.0.1:%(port)d;
    add_header X-Release %(release)s always;
    location = /version { default_type application/json; return 200 '{"release":"%(release)s"}'; }
    location / { proxy_pass http://127.0.0.1:%(upstream)d; }
    %(more)s
  }
}
"""


class Upstream(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *args):
        pass


@unittest.skipUnless(os.path.exists(NGINX), "nginx-light is not installed")
class Nginx(Scenario):
    def setUp(self):
        self.upstream = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Upstream)
        serving = threading.Thread(target=self.upstream.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        serving.start()
        self.addCleanup(serving.join, 60)
        self.addCleanup(self.upstream.server_close)
        self.addCleanup(self.upstream.shutdown)

        self.fleet_ = self.fleet()
        self.service = service = self.fleet_.service("front")
        self.run_directory = os.path.join(service.root, "run")
        os.makedirs(self.run_directory)
        self.pid_file = os.path.join(self.run_directory, "nginx.pid")
        self.configuration = os.path.join(service.current, "nginx.conf")
        service.settings["components"] = [
            {"name": "configuration", "driver": "symlink", "releases": service.releases, "current": service.current,
             "process": {"manager": "command", "start": self.nginx(), "stop": self.nginx("-s", "stop"), "pid_file": self.pid_file}}]
        service.settings["checks"] = [
            {"name": "front", "type": "http", "url": service.url("/"), "interval": "250ms", "timeout": "2s"},
            {"name": "nginx-t", "type": "config", "paths": [self.configuration], "command": self.nginx("-t")}]
        self.release("v1")
        service.link("v1")
        subprocess.run(self.nginx(), check=True, timeout=60, stdin=subprocess.DEVNULL)
        self.addCleanup(self.end_nginx)
        self.fleet_.start()
        self.watched("v1")

    def nginx(self, *arguments):
        return [NGINX, "-e", os.path.join(self.run_directory, "error.log"), "-p", self.run_directory, "-c", self.configuration, *arguments]

    def end_nginx(self):
        self.fleet_.stop_daemon()  # First: it would take the end of nginx for a crash of the last release, and start another.
        try:
            with open(self.pid_file, encoding="utf-8") as file:
                pid = int(file.read())
            os.kill(pid, signal.SIGTERM)
            wait_for("nginx has ended", 10, lambda: not os.path.exists("/proc/%d" % pid))
        except (OSError, ValueError):
            pass  # It does not run.

    def release(self, name, upstream=None, more=""):
        directory = os.path.join(self.service.releases, name)
        os.makedirs(directory)
        with open(os.path.join(directory, "nginx.conf"), "w", encoding="utf-8") as out:
            out.write(CONFIGURATION % {"run": self.run_directory, "port": self.service.port, "release": name, "more": more,
                                       "upstream": upstream or self.upstream.server_address[1]})

    def served(self):
        """(status, what nginx says that it serves); None where nobody listens: between nginx's stop and its start."""
        request = urllib.request.Request(self.service.url("/"))
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, answer.headers["X-Release"]
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.headers["X-Release"]
        except (OSError, http.client.HTTPException):
            return None

    def watched(self, release):
        def look():
            row = self.fleet_.status(self.service)
            return row["release"] == release and row["started"] and not row["warming"] and row["phase"] == "watching" and not row["blind_rules"]
        wait_for("%s is watched" % release, 30, look)

    def decision_of(self, row):
        return self.fleet_.get("/api/v1/operations/" + row["operation"])[1]["decision"]

    def test_a_configuration_that_nginx_refuses_is_rolled_back_while_the_old_one_serves(self):
        self.release("v2", more="proxy_bufering off;")
        served = set()

        self.service.link("v2")  # As a deployment does whose reload was refused: nginx goes on with what it has.
        wait_for("v1 is back", 30, lambda: served.add(self.served()) or self.service.live() == "v1")
        row = rollback_of(self.fleet_, self.service, "v2")

        self.assertEqual((row["status"], row["to"], self.service.live()), ("succeeded", "v1", "v1"), row)
        self.assertIn("ConfigurationInvalid", self.decision_of(row)["evidence"][0])
        self.assertEqual(standing(self.fleet_, self.service, "v2"), "bad")
        self.assertEqual(self.served(), (200, "v1"))
        self.assertEqual(served - {None}, {(200, "v1")}, "nginx served v1 until it was restarted with v1")
        self.watched("v1")

    def test_a_valid_configuration_with_a_wrong_upstream_is_rolled_back(self):
        self.release("v3", upstream=free_port())

        impatient(self.service)
        self.fleet_.write_configuration()
        self.assertEqual(self.fleet_.ctl("reload")[0], 0)
        self.fleet_.post("/api/v1/deploy", service="front", release="v3")
        row = rollback_of(self.fleet_, self.service, "v3")

        self.assertEqual((row["status"], row["to"], self.service.live()), ("succeeded", "v1", "v1"), row)
        decision = json.dumps(self.decision_of(row)["evidence"])
        self.assertTrue("HealthCheckFailing" in decision or "VerificationFailed" in decision, decision)
        wait_for("nginx serves v1 again", 10, lambda: self.served() == (200, "v1"))
        self.assertEqual(standing(self.fleet_, self.service, "v3"), "bad")

    def test_a_good_configuration_is_deployed_and_stays(self):
        self.release("v4")

        self.fleet_.deploy(self.service, "v4")
        self.watched("v4")

        self.assertEqual(self.served(), (200, "v4"))
        self.assertEqual(self.fleet_.operations(self.service, kind="rollback"), [])


if __name__ == "__main__":
    unittest.main()
