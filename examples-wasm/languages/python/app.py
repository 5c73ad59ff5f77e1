"""An executor in Python: each task is finished with its data reversed, each message is answered."""

from wit_world import exports
from wit_world.imports import executor_host
from wit_world.imports.executor_host import TaskState


class ExecutorEvents(exports.ExecutorEvents):
    def registered(self, me, data):
        pass

    def launch(self, task):
        executor_host.update(task.id, TaskState.FINISHED, "", bytes(reversed(task.data)))

    def kill(self, task_id, grace_ms):
        executor_host.update(task_id, TaskState.KILLED, "", b"")

    def message(self, data):
        executor_host.send_message(data.upper())

    def timer(self, id):
        pass

    def sandbox_exited(self, child, exit):
        pass

    def shutdown(self, grace_ms):
        executor_host.stop()
