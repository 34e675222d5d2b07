# SPDX-License-Identifier: MIT

# The CommandStatus of a tag; None, where there was none, is ''.
cpdef object command_status(bytes tag)
