#include "common/sysctl.h"

#include <cerrno>
#include <climits>
#include <fstream>
#include <gtest/gtest.h>
#include <string>

#include "tests/unit/helpers.h"

static long first_number(const char *path)
{
    std::ifstream file(path);
    long number = -1;

    EXPECT_TRUE(file >> number) << path;
    return number;
}

/* The error of a setting that cannot be read; 0 where it can. */
static int error_of(const std::string &name)
{
    long value = 4711;

    errno = 0;
    if (sysctl_read(name.c_str(), &value) == 0)
        return 0;
    int error = errno;
    EXPECT_EQ(value, 4711) << "the value was changed all the same";
    return error;
}

TEST(Sysctl, ReadsANumber)
{
    long value = -1;

    ASSERT_EQ(sysctl_read("net.core.somaxconn", &value), 0);
    EXPECT_EQ(value, first_number("/proc/sys/net/core/somaxconn"));
    EXPECT_GE(value, 1);
}

TEST(Sysctl, OfSeveralNumbersTheFirstIsRead)
{
    long value = -1;

    ASSERT_EQ(sysctl_read("net.ipv4.tcp_rmem", &value), 0);
    EXPECT_EQ(value, first_number("/proc/sys/net/ipv4/tcp_rmem"));
    EXPECT_GE(value, 1);
}

TEST(Sysctl, AMissingSettingIsENOENT)
{
    EXPECT_EQ(error_of("net.ipv4.no_such_setting"), ENOENT);
    EXPECT_EQ(error_of("no.such.folder"), ENOENT);
}

TEST(Sysctl, AFolderOfSettingsIsEISDIR)
{
    EXPECT_EQ(error_of("net.ipv4"), EISDIR);
    EXPECT_EQ(error_of(""), EISDIR);
}

TEST(Sysctl, ATextInsteadOfANumberIsEINVAL)
{
    EXPECT_EQ(error_of("kernel.ostype"), EINVAL);
}

/* /proc/sys/ and the '\0' leave 245 characters of the 256 for the name. */
TEST(Sysctl, ANameTooLongForItsPathIsENAMETOOLONG)
{
    EXPECT_EQ(error_of(std::string(245, 'a')), ENOENT);
    EXPECT_EQ(error_of(std::string(246, 'a')), ENAMETOOLONG);
    EXPECT_EQ(error_of(std::string(100000, 'a')), ENAMETOOLONG);
    EXPECT_EQ(error_of("net.core.somaxconn" + std::string(100000, '.')), ENAMETOOLONG)
        << "cut to a name that exists";
}

TEST(Sysctl, LeavesNoDescriptorOpen)
{
    Descriptor before = memory_file();
    long value = 0;

    for (int i = 0; i < 10; i++) {
        sysctl_read("net.core.somaxconn", &value);
        sysctl_read("net.ipv4", &value);
        sysctl_read("kernel.ostype", &value);
    }
    Descriptor after = memory_file();
    EXPECT_EQ(after, before + 1);
}

TEST(Sysctl, ASettingThatCanBeReadIsPreferredToTheFallback)
{
    CapturedStderr captured;

    EXPECT_EQ(sysctl_or("net.core.somaxconn", -7), first_number("/proc/sys/net/core/somaxconn"));
    EXPECT_EQ(captured.text(), "");
}

TEST(Sysctl, AFallbackIsSaidInTheLog)
{
    CapturedStderr captured;

    EXPECT_EQ(sysctl_or("net.ipv4.no_such_setting", 128), 128);
    EXPECT_EQ(sysctl_or("kernel.ostype", LONG_MIN), LONG_MIN);
    std::vector<std::string> lines = messages(captured.text());
    ASSERT_EQ(lines.size(), 2U) << captured.text();
    EXPECT_EQ(lines[0], "net.ipv4.no_such_setting cannot be read (No such file or directory): "
                        "taking it to be 128");
    EXPECT_EQ(lines[1], "kernel.ostype cannot be read (Invalid argument): taking it to be " +
                            std::to_string(LONG_MIN));
}

TEST(Sysctl, AFallbackIsSilentWhereOnlyErrorsAreShown)
{
    CapturedStderr captured;

    log_set_level(LOG_ERRORS);
    EXPECT_EQ(sysctl_or("net.ipv4.no_such_setting", 128), 128);
    log_set_level(LOG_NORMAL);
    EXPECT_EQ(captured.text(), "");
}
