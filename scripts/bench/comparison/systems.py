"""What is compared: the simulated service, graphfs, rclone, a pass-through and local folders."""

import json
import os
import shutil
import signal
import ssl
import subprocess
import time
import urllib.parse
import urllib.request

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
SERVICE = "graph.microsoft.com"  # rclone has the name built in
START_S, END_S = 120, 60
BEST_FLAGS = ["--vfs-cache-mode", "full", "--dir-cache-time", "1h", "--attr-timeout", "1h", "--vfs-read-ahead", "128M",
              "--buffer-size", "32M", "--vfs-cache-max-size", "40G", "--vfs-fast-fingerprint"]


def built(name):
    """A program of the build directory that --build names."""
    return os.path.join(os.environ["BENCH_BUILD"], name)


def clean_environment(**more):
    return {"PATH": os.environ["PATH"], "LANG": "C.UTF-8", **more}


def wait_until(condition, what, timeout_s=START_S):
    until = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > until:
            raise RuntimeError(f"never became true: {what}")
        time.sleep(0.002)


def probe(*command, passes=1):
    """Runs bench_probe; gives its JSON."""
    argv = [built("scripts/bench/bench_probe"), "-n", str(passes), *map(str, command)]
    return json.loads(subprocess.run(argv, stdout=subprocess.PIPE, check=True).stdout)


def end(process):
    """Gives the exit status."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    return process.returncode


class Service:
    """graphsim on the port of the real service, over TLS."""

    def __init__(self, work, *options):
        self.dir = os.path.join(work, "service")
        os.makedirs(self.dir)
        self.process = subprocess.Popen(
            [built("tests/sim/graphsim"), "--port", "443", "--tls", self.dir, "--name", SERVICE, "--lenient",
             "--exit-with-parent", *options], stdout=subprocess.PIPE, text=True, env=clean_environment())
        hello = json.loads(self.process.stdout.readline())
        self.api, self.login, self.admin, self.ca = (hello[k] for k in ("api", "login", "admin", "ca"))
        self.opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}),
            urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=self.ca)))
        self.grant = None

    def stop(self):
        end(self.process)
        shutil.rmtree(self.dir)

    def ask(self, call, **members):
        body = json.dumps(members).encode() if members else None
        with self.opener.open(urllib.request.Request(f"{self.admin}/{call}", body)) as reply:
            return json.load(reply)

    def post(self, call, **members):
        request = urllib.request.Request(f"{self.admin}/{call}", json.dumps(members).encode())
        with self.opener.open(request) as reply:
            return json.load(reply)

    def counters(self):
        return self.ask("counters")

    def shape(self, latency_ms=0, bytes_per_s=0):
        self.post("shape", latency_ms=latency_ms, bandwidth_bytes_per_s=bytes_per_s)

    def sign_in(self):
        """A token grant of the device code flow."""
        if not self.grant:
            base = f"{self.login}/common/oauth2/v2.0"

            def form(path, **members):
                data = urllib.parse.urlencode(members).encode()
                with self.opener.open(urllib.request.Request(f"{base}/{path}", data)) as reply:
                    return json.load(reply)
            code = form("devicecode", client_id="x", scope="y")["device_code"]
            self.grant = form("token", client_id="x", device_code=code,
                              grant_type="urn:ietf:params:oauth:grant-type:device_code")
        return self.grant

    def get(self, path):
        request = urllib.request.Request(self.api + path)
        request.add_header("Authorization", "Bearer " + self.sign_in()["access_token"])
        with self.opener.open(request) as reply:
            return json.load(reply)

    def content_url(self, path):
        return self.get("/me/drive/root:/" + urllib.parse.quote(path))["@microsoft.graph.downloadUrl"]


class System:
    """Something that shows the tree in a folder. fuse_requests() is None where it cannot be told."""

    name = "?"
    mnt = None

    def start(self):
        pass

    def stop(self):
        pass

    def fuse_requests(self):
        return None

    def path(self, *parts):
        return os.path.join(self.mnt, *parts)


class Local(System):
    name = "local"

    def __init__(self, folder):
        self.mnt = folder


class Mounted(System):
    """A daemon of its own with a folder of its own; remembers what it knows until forget()."""

    def __init__(self, work, name):
        self.name = name
        self.dir = os.path.join(work, name)
        self.mnt = os.path.join(self.dir, "mnt")
        self.process = self.status_at_end = None

    def command(self):
        raise NotImplementedError

    def environment(self):
        return clean_environment()

    def prepare(self):
        pass

    def start(self):
        """Gives the seconds from the start of the program until the folder answers."""
        os.makedirs(self.mnt, exist_ok=True)
        self.prepare()
        with open(os.path.join(self.dir, "log"), "ab") as log:
            began = time.monotonic()
            self.process = subprocess.Popen(self.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                            env=self.environment())
        outside = os.stat(self.dir).st_dev
        wait_until(self.answers(outside), f"{self.name} is mounted")
        return time.monotonic() - began

    def answers(self, outside):
        def check():
            if self.process.poll() is not None:
                with open(os.path.join(self.dir, "log"), encoding="utf-8", errors="replace") as log:
                    raise RuntimeError(f"{self.name} did not start: {log.read()[-2000:]}")
            return os.stat(self.mnt).st_dev != outside
        return check

    def stop(self):
        if self.process:
            self.status_at_end = end(self.process)
            subprocess.run(["umount", "-l", self.mnt], stderr=subprocess.DEVNULL, check=False)
            self.process = None

    def forget(self):
        """Everything it knows; only when stopped."""
        shutil.rmtree(self.dir, ignore_errors=True)

    def memory_kib(self, key="VmHWM"):
        with open(f"/proc/{self.process.pid}/status", encoding="ascii") as f:
            return int(next(line.split()[1] for line in f if line.startswith(key + ":")))

    def cpu_s(self):
        total = 0
        for task in os.listdir(f"/proc/{self.process.pid}/task"):
            with open(f"/proc/{self.process.pid}/task/{task}/schedstat", encoding="ascii") as f:
                total += int(f.read().split()[0])
        return total / 1e9

    def wakeups(self):
        total = 0
        for task in os.listdir(f"/proc/{self.process.pid}/task"):
            with open(f"/proc/{self.process.pid}/task/{task}/status", encoding="ascii") as f:
                total += int(next(line.split()[1] for line in f if line.startswith("voluntary_ctxt")))
        return total


class Graphfs(Mounted):
    def __init__(self, work, service, cache="40G", name="graphfs"):
        super().__init__(work, name)
        self.service, self.cache = service, cache

    def environment(self):
        home = os.path.join(self.dir, "home")
        names = ("CONFIG", "STATE", "CACHE", "RUNTIME")
        dirs = {f"XDG_{n}_{'DIR' if n == 'RUNTIME' else 'HOME'}": os.path.join(home, n.lower()) for n in names}
        return clean_environment(HOME=home, **dirs)

    def prepare(self):
        env = self.environment()
        config = os.path.join(env["XDG_CONFIG_HOME"], "graphfs")
        if os.path.exists(config):
            return
        for folder in (config, env["XDG_STATE_HOME"], env["XDG_CACHE_HOME"], env["XDG_RUNTIME_DIR"]):
            os.makedirs(folder, 0o700)
        with open(os.path.join(config, "config"), "w", encoding="ascii") as f:
            f.write(f"[cache]\nsize = {self.cache}\n")
        subprocess.run([built("src/app/graphfs"), "login", "--client-id", "bench", "--graph-url", self.service.api,
                        "--login-url", self.service.login, "--ca-file", self.service.ca],
                       env=env, stdout=subprocess.DEVNULL, check=True)

    def command(self):
        return [built("src/app/graphfs"), "mount", "-f", self.mnt]

    def stop(self):
        was_running = self.process is not None
        super().stop()
        if was_running and self.status_at_end != 0:
            with open(os.path.join(self.dir, "log"), encoding="utf-8", errors="replace") as log:
                raise RuntimeError(f"graphfs ended with {self.status_at_end}: {log.read()[-3000:]}")

    def status(self):
        return json.loads(subprocess.run([built("src/app/graphfs"), "status", "--json", self.mnt], check=True,
                                         env=self.environment(), stdout=subprocess.PIPE).stdout)

    def fuse_requests(self):
        return self.status()["kernel"]["requests"]

    def wait_known(self, timeout_s=START_S):
        """The whole tree is known and the channel is up."""
        wait_until(self.is_known, "graphfs knows the tree", timeout_s)

    def is_known(self):
        """Asks no more often than costs a twentieth of the time: a status may count the rows of a large tree."""
        began = time.monotonic()
        status = self.status()
        time.sleep(max(0.02, 20 * (time.monotonic() - began)))
        return not status["crawling"] and status["state"] == "live" and status["items"] > 1


class Rclone(Mounted):
    def __init__(self, work, service, name, flags=()):
        super().__init__(work, name)
        self.service, self.flags = service, list(flags)

    def environment(self):
        return clean_environment(HOME=self.dir, SSL_CERT_FILE=self.service.ca)

    def prepare(self):
        path = os.path.join(self.dir, "rclone.conf")
        if os.path.exists(path):
            return
        grant, drive = self.service.sign_in(), self.service.get("/me/drive")
        token = {"access_token": "old", "token_type": "Bearer", "refresh_token": grant["refresh_token"],
                 "expiry": "2020-01-01T00:00:00Z"}
        with open(path, "w", encoding="ascii") as f:
            f.write(f"[sim]\ntype = onedrive\ndrive_id = {drive['id']}\ndrive_type = {drive['driveType']}\n"
                    f"token_url = {self.service.login}/common/oauth2/v2.0/token\ntoken = {json.dumps(token)}\n")

    def command(self):
        return ["rclone", "mount", "sim:", self.mnt, "--read-only", "--config", os.path.join(self.dir, "rclone.conf"),
                "--cache-dir", os.path.join(self.dir, "cache"), *self.flags]


class Passthrough(Mounted):
    def __init__(self, work, source):
        super().__init__(work, "pass-through")
        self.source = source

    def command(self):
        return [built("scripts/bench/bench_passthrough"), self.source, self.mnt]


def has_rclone():
    return shutil.which("rclone") is not None
