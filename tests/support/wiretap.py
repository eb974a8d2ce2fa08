"""A TLS-terminating relay in front of a coordinator, with its keys: every byte in the clear, both ways."""

import asyncio
import ssl
import threading


class Wiretap:
    """Listens on a port of its own; ``up`` is what hospitals sent, ``down`` what the coordinator sent."""

    def __init__(self, target_port, tls_folder):
        self.up = bytearray()
        self.down = bytearray()
        self.port = 0
        self._target_port = target_port
        self._server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._server_context.load_cert_chain(tls_folder / "server.crt", tls_folder / "server.key")
        self._client_context = ssl.create_default_context(cafile=tls_folder / "ca.crt")
        for context in (self._server_context, self._client_context):
            context.set_alpn_protocols(["h2"])
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self):
        self._thread.start()
        if not self._ready.wait(10):
            raise TimeoutError("the relay did not start")
        return self

    def __exit__(self, *_):
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _serve(self):
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(
            asyncio.start_server(self._relay, "127.0.0.1", 0, ssl=self._server_context)
        )
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        self._loop.run_forever()

    async def _relay(self, reader, writer):
        try:
            far_reader, far_writer = await asyncio.open_connection(
                "127.0.0.1", self._target_port, ssl=self._client_context, server_hostname="127.0.0.1"
            )
        except OSError:
            writer.close()
            return
        await asyncio.gather(
            self._copy(reader, far_writer, self.up), self._copy(far_reader, writer, self.down)
        )

    async def _copy(self, reader, writer, record):
        try:
            while chunk := await reader.read(1 << 16):
                record += chunk
                writer.write(chunk)
                await writer.drain()
        except (ConnectionError, ssl.SSLError):
            pass
        finally:
            writer.close()
